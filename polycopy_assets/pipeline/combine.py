"""Combines recorded trades that no usable batch holds, then sets broken batches aside.

A broken batch stays where it is until its wallets are combined again: if the process is killed in
between, the next load finds it there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from logging import Logger

import msgspec

from polycopy_assets.batches.combine import combine_all
from polycopy_assets.batches.load import unloaded
from polycopy_assets.batches.manifest_files import with_broken_files
from polycopy_assets.batches.manifests import Batches, Broken, read_batches, summarize
from polycopy_assets.batches.plan import (
    InRecord,
    new_claims,
    next_batch,
    pending,
    to_combine_again,
)
from polycopy_assets.errors import ObjectExists, PolycopyError, StoreError, Unexpected
from polycopy_assets.feeds.base import Feed
from polycopy_assets.pipeline.ports import Check, Committed, Records
from polycopy_assets.settings.memory import DEFAULT_MEMORY
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.system.step import Step
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Claim, Header, Manifest
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.segment import record_digest

ATTEMPTS = 3


class Combined(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a combine.

    `recorded` is the state of the record that was combined, `batches` are all usable batches, and
    `made` the new ones. `lost` are the wallets that were left out. `broken` are the batches that
    were found broken, and `stuck` are those that could not be set aside, and why.
    """

    recorded: str
    batches: list[Header]
    made: list[Manifest]
    lost: dict[str, PolycopyError]
    broken: list[Broken]
    stuck: dict[str, str]


def combine_new(
    records: Records,
    store: FeedStore,
    loaded: Collection[int],
    log: Logger,
    check: Check,
    *,
    force: AbstractSet[str] = frozenset(),
    broken: Sequence[Broken] = (),
    memory: int = DEFAULT_MEMORY,
    step: Step | None = None,
) -> Combined:
    """Commits what is new as batches of bounded size, or none if nothing is new.

    `check` raises Stopped if the run must not go on; it is called before each batch. Wallets in
    `force` are combined in full. `broken` are batches that were found broken during a load; others
    are found here: by their manifests and, unless the table has them (`loaded` are the numbers of
    its batches), by their files. If another run takes a batch's number first, what is new is worked
    out again. `memory`: MB that this process may use. `step` shows what is under way.
    """
    made: list[Manifest] = []
    if step is not None:
        step.begin(f"looking for new {store.feed.rows}")
    for attempt in range(ATTEMPTS):
        found = sound_and_broken(store, loaded, broken)
        versions = records.versions()
        claims, lost = _claims(store.names, records, found, versions, force)
        batches = list(found.sound)
        number = next_batch(store.names, batches, loaded, found.broken)
        try:
            check()
            for each in combine_all(store, claims, number, memory=memory, step=step):
                lost |= each.lost
                if each.manifest is not None:
                    made.append(each.manifest)
                    batches.append(_header(each.manifest))
                    log.info(_line(each.manifest, store.feed))
                check()
        except ObjectExists:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        if not made:
            log.info("nothing is new")
        check()
        still = _lost_still(records, versions, claims, lost, log)
        # The others were recorded again, maybe with the same version: this state was not combined.
        state = {w: v for w, v in versions.items() if w in still or w not in lost}
        combined = Combined(
            recorded=record_digest(state),
            batches=batches,
            made=made,
            lost=still,
            broken=found.broken,
            stuck=_set_aside(store, found.broken, log),
        )
        summarize(store, log)
        return combined
    raise AssertionError("unreachable")


def sound_and_broken(
    store: FeedStore,
    loaded: Collection[int],
    broken: Sequence[Broken] = (),
    *,
    everything: bool = False,
) -> Batches:
    """The store's batches; those in `broken` and those with wrong files count as broken too.

    With `everything` each manifest is read, whatever is remembered or in a summary.
    """
    found = read_batches(store, everything=everything)
    waiting = unloaded(found.sound, {*loaded}, store.feed.schema)
    wrong = with_broken_files(store, waiting, found.listed)
    every = {item.name: item for item in (*wrong, *broken)}
    numbers = frozenset(item.number for item in every.values())
    if numbers & {item.batch for item in found.sound}:
        found = read_batches(store, without=numbers, everything=everything)
    return msgspec.structs.replace(found, broken=[*found.broken, *every.values()])


def _claims(
    names: Names,
    records: Records,
    found: Batches,
    versions: Mapping[str, str],
    force: AbstractSet[str],
) -> tuple[list[Claim], dict[str, PolycopyError]]:
    """The claims to combine, and the wallets whose record cannot be read, with the reason."""
    whole = force & versions.keys()
    wallets = {*pending(versions, found.held), *whole}
    if found.broken:
        # A broken batch's content is unknown: combine what is recorded and in no other batch.
        gone, named = to_combine_again(_legible(records.read()), found)
        whole |= named
        wallets |= whole | gone
    read = dict(records.read(wallets))
    lost = {wallet: item for wallet, item in read.items() if isinstance(item, PolycopyError)}
    return new_claims(names, _legible(read.items()), found.held, whole), lost


def _legible(records: Iterable[tuple[str, Committed | PolycopyError]]) -> Iterator[InRecord]:
    for wallet, item in records:
        if not isinstance(item, PolycopyError):
            yield InRecord(wallet, item.version, item.segments, item.covered_until)


def _header(manifest: Manifest) -> Header:
    return Header(manifest.batch, manifest.rows, manifest.schema)


def _set_aside(store: FeedStore, broken: Iterable[Broken], log: Logger) -> dict[str, str]:
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
    claims: Iterable[Claim],
    lost: Mapping[str, PolycopyError],
    log: Logger,
) -> dict[str, PolycopyError]:
    """Those in `lost` whose record is still the one of which `claims` were made.

    A fetch may have replaced the other records since: they are new for the next combine. Their data
    version is the same if the trades are.
    """
    if not lost:
        return {}
    now = records.versions()
    there = {
        (segment.name, segment.crc32c)
        for record in _legible(records.read(lost.keys()))
        for segment in record.segments
    }
    replaced = {
        item.wallet
        for item in claims
        if item.wallet in lost and item.size and (item.segment, item.crc32c) not in there
    }
    still: dict[str, PolycopyError] = {}
    for wallet, why in sorted(lost.items()):
        same = wallet in versions and now.get(wallet) == versions[wallet]
        if same and wallet not in replaced:
            still[wallet] = why
        else:
            log.info(f"{wallet} was recorded again meanwhile; the next load takes it")
    for wallet, why in still.items():
        log.error(f"{wallet} is left out: {why}")
        if isinstance(why, Unexpected):
            log.error(why.traceback)
    return still


def _line(manifest: Manifest, feed: Feed) -> str:
    return (
        f"batch {manifest.batch}: {counted(manifest.rows, feed.row, feed.rows)} of"
        f" {counted(len(manifest.claims), 'segment')} in {counted(len(manifest.parts), 'part')}"
    )
