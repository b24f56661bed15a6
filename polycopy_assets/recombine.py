"""What the record has and no usable batch holds, combined; broken batches are set aside after that.

A broken batch stays where it is until its wallets are combined again: whoever is killed in between
leaves it there, and the next load finds it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from logging import Logger

import dagster as dg
import msgspec

from polycopy_assets import record
from polycopy_assets.combine import combine_all, identity, new_claims, next_batch, pending
from polycopy_assets.errors import ObjectExists, PolycopyError, StoreError, Unexpected
from polycopy_assets.fetch.stored import set_aside
from polycopy_assets.load import unloaded
from polycopy_assets.manifests import Batches, Broken, read_batches, with_broken_files
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import Claim, Manifest, claim, current
from polycopy_assets.trades.segment import Segment

ATTEMPTS = 3
Key = tuple[str, int, str]
"""What tells claims apart: see `combine.identity`."""

Recorded = Mapping[str, Sequence[Segment]]
"""The segments that each wallet's record names."""


class Combined(msgspec.Struct, frozen=True, kw_only=True):
    """What a combine came to.

    `recorded` is the state of the record that was combined, `manifests` are all usable batches, and
    `made` those that are new. `lost` are the wallets that were left out. `broken` are the batches
    that were found broken, and `stuck` tells of those that could not be set aside, and why.
    """

    recorded: str
    manifests: list[Manifest]
    made: list[Manifest]
    lost: dict[str, PolycopyError]
    broken: list[Broken]
    stuck: dict[str, str]


def combine_new(
    instance: dg.DagsterInstance,
    store: Store,
    loaded: Collection[int],
    log: Logger,
    *,
    again: AbstractSet[str] = frozenset(),
    broken: Sequence[Broken] = (),
) -> Combined:
    """Commits what is new as batches of bounded size, or none if nothing is new.

    Wallets in `again` are combined whole. `broken` are batches that turned out to be so while they
    were loaded; others are found here: by their manifests, and if the table lacks them (`loaded`
    are the numbers of those that it has) by their files. If another run takes a batch's number
    first, what is new is worked out again.
    """
    made: list[Manifest] = []
    for attempt in range(ATTEMPTS):
        found = told_apart(store, loaded, broken)
        versions = record.versions(instance)
        claims, lost = _claims(instance, found, versions, again)
        number = next_batch(found.sound, loaded, found.broken)
        try:
            for each in combine_all(store, claims, number):
                lost |= each.lost
                if each.manifest is not None:
                    made.append(each.manifest)
                    found.sound.append(each.manifest)
                    log.info(_line(each.manifest))
        except ObjectExists:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        if not made:
            log.info("nothing is new")
        return Combined(
            recorded=record.digest(versions),
            manifests=found.sound,
            made=made,
            lost=_lost_still(instance, versions, lost, log),
            broken=found.broken,
            stuck=_set_aside(store, found.broken, log),
        )
    raise AssertionError("unreachable")


def told_apart(store: Store, loaded: Collection[int], broken: Sequence[Broken] = ()) -> Batches:
    """The batches of the store; also broken are those in `broken`, and those with wrong files."""
    found = read_batches(store)
    waiting = unloaded(found.sound, {*loaded})
    every = {item.name: item for item in (*with_broken_files(store, waiting), *broken)}
    numbers = {item.number for item in every.values()}
    return Batches(
        sound=[item for item in found.sound if item.batch not in numbers],
        broken=[*found.broken, *every.values()],
        strange=found.strange,
    )


def _claims(
    instance: dg.DagsterInstance,
    found: Batches,
    versions: Mapping[str, str],
    again: AbstractSet[str],
) -> tuple[list[Claim], dict[str, PolycopyError]]:
    """What is to be combined, and the wallets whose record does not tell it, with the reason."""
    whole = again & versions.keys()
    wallets = {*pending(versions, found.sound), *whole}
    if found.broken:
        # Nobody can tell what a broken batch held: what is recorded and in no other batch.
        every = {
            wallet: item.segments
            for wallet, item in record.ledger(instance)
            if isinstance(item, record.Record)
        }
        whole |= named_and_not_combined_since(every, found)
        wallets |= whole | forgotten(every, found.sound)
    read = dict(record.read_all(instance, wallets))
    lost = {wallet: item for wallet, item in read.items() if isinstance(item, PolycopyError)}
    legible = [item for item in read.values() if isinstance(item, record.Record)]
    new = new_claims(((item.version, item.segments) for item in legible), found.sound, whole)
    return new, lost


def forgotten(recorded: Recorded, manifests: Iterable[Manifest]) -> set[str]:
    """The wallets with recorded trades that no batch holds."""
    held = _last_batches(manifests)
    return {wallet for wallet, segments in recorded.items() if not _keys(segments) <= held.keys()}


def named_and_not_combined_since(recorded: Recorded, batches: Batches) -> set[str]:
    """The wallets that broken batches name, if later batches do not hold all that is recorded.

    A broken batch that cannot be set aside is there again each time: nothing is combined twice.
    """
    last: dict[str, int] = {}
    for item in batches.broken:
        for each in item.claims:
            last[each.wallet] = max(last.get(each.wallet, 0), item.number)
    held = _last_batches(batches.sound)
    return {
        wallet
        for wallet, number in last.items()
        if any(held.get(key, 0) <= number for key in _keys(recorded.get(wallet, ())))
    }


def _last_batches(manifests: Iterable[Manifest]) -> dict[Key, int]:
    """The last batch that holds each segment."""
    return {identity(item): each.batch for each in current(manifests) for item in each.claims}


def _keys(segments: Iterable[Segment]) -> set[Key]:
    """The segments that hold trades, as claims are told apart."""
    return {identity(claim(segment, "")) for segment in segments if segment.rows}


def _set_aside(store: Store, broken: Iterable[Broken], log: Logger) -> dict[str, str]:
    """Moves the manifests of broken batches to the quarantine; those that stay, and why."""
    stuck: dict[str, str] = {}
    for item in broken:
        try:
            set_aside(store, item.name)
        except StoreError as error:
            stuck[item.name] = f"{item.why}; it cannot be set aside: {error}"
            log.error(f"{item.name}: {stuck[item.name]}")  # noqa: TRY400 - the message is whole
        else:
            log.warning(f"{item.name} is set aside, its wallets are combined again: {item.why}")
    return stuck


def _lost_still(
    instance: dg.DagsterInstance,
    versions: Mapping[str, str],
    lost: Mapping[str, PolycopyError],
    log: Logger,
) -> dict[str, PolycopyError]:
    """Those in `lost` whose record is the one that `versions` tells of.

    A full refetch may have replaced the others since: they are new again, for the next combine.
    """
    if not lost:
        return {}
    now = record.versions(instance)
    still: dict[str, PolycopyError] = {}
    for wallet, why in sorted(lost.items()):
        if wallet in versions and now.get(wallet) == versions[wallet]:
            still[wallet] = why
        else:
            log.info(f"{wallet} was recorded anew meanwhile, and waits for the next load")
    for wallet, why in still.items():
        log.error(f"{wallet} is left out: {why}")
        if isinstance(why, Unexpected):
            log.error(why.traceback)
    return still


def _line(manifest: Manifest) -> str:
    return (
        f"batch {manifest.batch}: {manifest.rows:,} trades of {len(manifest.claims):,} segments"
        f" in {len(manifest.parts)} parts"
    )
