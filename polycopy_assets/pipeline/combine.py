"""Combines recorded trades that no usable batch holds, then sets broken batches aside.

A broken batch stays where it is until its wallets are combined again: if the process is killed in
between, the next load finds it there.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from logging import Logger

import msgspec

from polycopy_assets.batches.combine import combine_all, identity, new_claims, next_batch, pending
from polycopy_assets.batches.load import unloaded
from polycopy_assets.batches.manifests import Batches, Broken, read_batches, with_broken_files
from polycopy_assets.errors import ObjectExists, PolycopyError, StoreError, Unexpected
from polycopy_assets.pipeline.ports import Check, Records
from polycopy_assets.store.base import Store
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.trades.batch import Claim, Manifest, claim, current
from polycopy_assets.trades.segment import Segment, record_digest

ATTEMPTS = 3
Key = tuple[str, int, str]
"""Identifies a claim: see `combine.identity`."""

Recorded = Mapping[str, Sequence[Segment]]
"""The segments that each wallet's record names."""


class Combined(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a combine.

    `recorded` is the state of the record that was combined, `manifests` are all usable batches, and
    `made` the new ones. `lost` are the wallets that were left out. `broken` are the batches that
    were found broken, and `stuck` are those that could not be set aside, and why.
    """

    recorded: str
    manifests: list[Manifest]
    made: list[Manifest]
    lost: dict[str, PolycopyError]
    broken: list[Broken]
    stuck: dict[str, str]


def combine_new(
    records: Records,
    store: Store,
    loaded: Collection[int],
    log: Logger,
    check: Check,
    *,
    force: AbstractSet[str] = frozenset(),
    broken: Sequence[Broken] = (),
) -> Combined:
    """Commits what is new as batches of bounded size, or none if nothing is new.

    `check` raises Stopped if the run must not go on; it is called before each batch. Wallets in
    `force` are combined in full. `broken` are batches that were found broken during a load; others
    are found here: by their manifests and, unless the table has them (`loaded` are the numbers of
    its batches), by their files. If another run takes a batch's number first, what is new is worked
    out again.
    """
    made: list[Manifest] = []
    for attempt in range(ATTEMPTS):
        found = sound_and_broken(store, loaded, broken)
        versions = records.versions()
        claims, lost = _claims(records, found, versions, force)
        number = next_batch(found.sound, loaded, found.broken)
        try:
            check()
            for each in combine_all(store, claims, number):
                lost |= each.lost
                if each.manifest is not None:
                    made.append(each.manifest)
                    found.sound.append(each.manifest)
                    log.info(_line(each.manifest))
                check()
        except ObjectExists:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        if not made:
            log.info("nothing is new")
        check()
        return Combined(
            recorded=record_digest(versions),
            manifests=found.sound,
            made=made,
            lost=_lost_still(records, versions, lost, log),
            broken=found.broken,
            stuck=_set_aside(store, found.broken, log),
        )
    raise AssertionError("unreachable")


def sound_and_broken(
    store: Store, loaded: Collection[int], broken: Sequence[Broken] = ()
) -> Batches:
    """The store's batches; those in `broken` and those with wrong files count as broken too."""
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
    records: Records,
    found: Batches,
    versions: Mapping[str, str],
    force: AbstractSet[str],
) -> tuple[list[Claim], dict[str, PolycopyError]]:
    """The claims to combine, and the wallets whose record cannot be read, with the reason."""
    whole = force & versions.keys()
    wallets = {*pending(versions, found.sound), *whole}
    if found.broken:
        # A broken batch's content is unknown: combine what is recorded and in no other batch.
        every = {
            wallet: item.segments
            for wallet, item in records.read()
            if not isinstance(item, PolycopyError)
        }
        whole |= named_and_not_combined_since(every, found)
        wallets |= whole | forgotten(every, found.sound)
    read = dict(records.read(wallets))
    lost = {wallet: item for wallet, item in read.items() if isinstance(item, PolycopyError)}
    legible = [item for item in read.values() if not isinstance(item, PolycopyError)]
    new = new_claims(((item.version, item.segments) for item in legible), found.sound, whole)
    return new, lost


def forgotten(recorded: Recorded, manifests: Iterable[Manifest]) -> set[str]:
    """The wallets with recorded trades that no batch holds."""
    held = _last_batches(manifests)
    return {wallet for wallet, segments in recorded.items() if not _keys(segments) <= held.keys()}


def named_and_not_combined_since(recorded: Recorded, batches: Batches) -> set[str]:
    """The wallets that broken batches name, unless later batches hold all that is recorded.

    A broken batch that cannot be set aside is found every time, but combined only once.
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
    """The keys of the segments that hold trades."""
    return {identity(claim(segment, "")) for segment in segments if segment.rows}


def _set_aside(store: Store, broken: Iterable[Broken], log: Logger) -> dict[str, str]:
    """Moves the manifests of broken batches to the quarantine; returns which stay, and why."""
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
    records: Records,
    versions: Mapping[str, str],
    lost: Mapping[str, PolycopyError],
    log: Logger,
) -> dict[str, PolycopyError]:
    """Those in `lost` whose record is still the one in `versions`.

    A full refetch may have replaced the other records since: they are new for the next combine.
    """
    if not lost:
        return {}
    now = records.versions()
    still: dict[str, PolycopyError] = {}
    for wallet, why in sorted(lost.items()):
        if wallet in versions and now.get(wallet) == versions[wallet]:
            still[wallet] = why
        else:
            log.info(f"{wallet} was recorded again meanwhile; the next load takes it")
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
