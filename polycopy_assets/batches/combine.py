"""Combining: the segments that no batch holds yet become one batch of typed, sorted Parquet.

What is new follows from the record and the manifests alone, so the result does not depend on when
it is computed. Memory is bounded by one part, whatever the size of the batch.
"""

import tempfile
import uuid
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import polars as pl

from polycopy_assets.batches.manifests import Broken, read_batches
from polycopy_assets.errors import (
    ContractBroken,
    ObjectExists,
    ObjectLost,
    ObjectUnreadable,
    PolycopyError,
    StoreError,
    Unexpected,
)
from polycopy_assets.store.base import Store, crc32c
from polycopy_assets.store.reading import Readable, Readings
from polycopy_assets.trades.batch import (
    PARTS,
    SCHEMA,
    Claim,
    Manifest,
    Part,
    claim,
    claimed_intervals,
    current,
    in_batches,
    manifest_name,
)
from polycopy_assets.trades.batch_rules import FURTHEST, LAST_BATCH, problem
from polycopy_assets.trades.frame import claim_rows, part_rows, served_frame, table_rows
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.payload import Rows, read_payload, within
from polycopy_assets.trades.segment import Segment, parse_name, rows_in_version
from polycopy_assets.trades.shapes import Trade

PART_BYTES = 12 * 2**20
"""Compressed bytes of segments that go into one Parquet part: about 120,000 trades."""

BATCH_ROWS = 5_000_000
"""Trades in a batch: about 3 GB in BigQuery, so that loading one stays below the default cap."""

BATCH_CLAIMS = 50_000
"""Segments in a batch: its manifest stays below 20 MB."""

_READERS = 8
_OWN = (ObjectLost, ObjectUnreadable)
"""Errors of one object, which say nothing about others."""


class CombinedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a combine: the batch it committed, if any, and the wallets it left out.

    `lost` maps a wallet to the error about its recorded object: gone, different from its record, or
    unreadable.
    """

    manifest: Manifest | None
    lost: Mapping[str, PolycopyError]


def read_manifests(store: Store) -> list[Manifest]:
    """All committed batches in order, without the broken ones."""
    return read_batches(store).sound


def combined_versions(manifests: Iterable[Manifest]) -> dict[str, str]:
    """The data version of each wallet that was combined last, with the current columns."""
    combined: dict[str, str] = {}
    for manifest in current(manifests):
        combined |= {item.wallet: item.version for item in manifest.claims}
    return combined


def pending(versions: Mapping[str, str], manifests: Iterable[Manifest]) -> list[str]:
    """The wallets whose recorded rows are not all in the batches.

    Either the recorded data version is not the one combined last, or an earlier batch is gone, so
    that the batches hold fewer rows than the data version says.
    """
    combined = combined_versions(manifests)
    held = _rows_held(manifests)
    return sorted(
        wallet
        for wallet, version in versions.items()
        if combined.get(wallet) != version or held.get(wallet, 0) < (rows_in_version(version) or 0)
    )


def rows_loaded(manifests: Sequence[Manifest], wallets: Container[str]) -> int:
    """How many rows of `wallets` a table that holds these batches has, by their latest claims.

    A wallet whose latest claims are not all in batches does not count.
    """
    held = _rows_held(manifests)
    return sum(
        min(held[wallet], rows_in_version(version) or 0)
        for wallet, version in combined_versions(manifests).items()
        if wallet in wallets
    )


def _rows_held(manifests: Iterable[Manifest]) -> dict[str, int]:
    """How many rows of each wallet the batches hold, each claim counted once."""
    claims = {identity(item): item for each in current(manifests) for item in each.claims}
    held: dict[str, int] = {}
    for item in claims.values():
        held[item.wallet] = held.get(item.wallet, 0) + item.rows
    return held


def new_claims(
    records: Iterable[tuple[str, Sequence[Segment]]],
    manifests: Iterable[Manifest],
    force: Collection[str] = (),
) -> list[Claim]:
    """The claims of (data version, segments) records that no manifest lists, wallet by wallet.

    A wallet with a new version but no new segment is combined whole, and so are those in `force`.
    """
    listed = {identity(item) for manifest in current(manifests) for item in manifest.claims}
    claims: list[Claim] = []
    for version, segments in records:
        every = [claim(segment, version) for segment in segments]
        new = [item for item in every if identity(item) not in listed]
        claims += every if not new or every[0].wallet in force else new
    return sorted(claims, key=lambda item: (item.wallet, item.start))


def next_batch(
    manifests: Sequence[Manifest], loaded: Collection[int], broken: Collection[Broken] = ()
) -> int:
    """The number of the next batch: after all existing batches and all that the table has seen.

    A number that the table holds would count as loaded, whatever the batch contains. The names of
    `broken` batches stay taken, even if their numbers are not trusted. Raises StoreError if no
    valid number is left.
    """
    sound = max((item.batch for item in manifests), default=0)
    seen = [max(loaded, default=0), *(item.number for item in broken)]
    last = max([sound, *(number for number in seen if number < sound + FURTHEST)])
    taken = {item.name for item in broken}
    free = (n for n in range(last + 1, LAST_BATCH + 1) if manifest_name(n) not in taken)
    number = next(free, None)
    if number is None:
        raise StoreError(f"there is no number left for a batch after {last}")
    return number


def combine_all(
    store: Store, claims: Sequence[Claim], first: int, *, rows: int = BATCH_ROWS
) -> Iterator[CombinedBatch]:
    """Commits `claims` as batches from number `first` on, and yields each when it is committed.

    Raises ObjectExists if another combine has taken a number: the caller must plan again.
    """
    number = first
    lost: set[str] = set()
    for batch in in_batches(claims, rows, BATCH_CLAIMS):
        combined = combine(store, [item for item in batch if item.wallet not in lost], number)
        lost |= combined.lost.keys()
        number += combined.manifest is not None
        yield combined


def combine(store: Store, claims: Sequence[Claim], batch: int) -> CombinedBatch:
    """Commits `claims` as batch number `batch`.

    Raises ObjectExists if another combine has taken that number: the caller must plan again.
    """
    try:
        return _commit(store, claims, batch, {})
    except Exception as error:
        if isinstance(error, PolycopyError) and not isinstance(error, _OWN):
            raise
        # Rare: find every wallet whose segments cannot be combined, and continue without them.
        lost = dict(_lost(store, claims))
        if not lost:
            raise
    return _commit(store, [item for item in claims if item.wallet not in lost], batch, lost)


def _commit(
    store: Store, claims: Sequence[Claim], batch: int, lost: Mapping[str, PolycopyError]
) -> CombinedBatch:
    if not claims:
        return CombinedBatch(manifest=None, lost=lost)
    folder = f"{PARTS}{batch:08d}/"
    attempt = f"{folder}{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "part.parquet"
        parts = list(_write_parts(store, claims, attempt, path))
        intervals = claim_rows(claimed_intervals(claims))
        claims_part = _write_part(store, intervals, f"{attempt}/claims.parquet", path)
    manifest = Manifest(
        batch=batch,
        rows=sum(part.rows for part in parts),
        parts=parts,
        claims=list(claims),
        claims_part=claims_part,
        schema=SCHEMA,
    )
    if wrong := problem(manifest, batch):
        # Otherwise every reader would set it aside, and its segments would be combined again for
        # ever.
        _clear(store, f"{attempt}/", keep=())
        raise StoreError(f"batch {batch} was not committed, because it would be broken: {wrong}")
    try:
        store.create(manifest_name(batch), manifest.encode(), {"rows": str(manifest.rows)})
    except ObjectExists:
        _clear(store, f"{attempt}/", keep=())
        raise
    # Other objects under this number belong to attempts that can no longer be committed.
    _clear(store, folder, keep={part.name for part in (*parts, claims_part)})
    return CombinedBatch(manifest=manifest, lost=lost)


def _write_parts(
    store: Store, claims: Sequence[Claim], attempt: str, scratch: Path
) -> Iterator[Part]:
    readings = Readings(store)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="read") as readers:
        for number, group in enumerate(_groups([item for item in claims if item.rows])):
            frame = _frame(readers.map(lambda item: read_claim(readings, item), group))
            expected = sum(item.rows for item in group)
            if len(frame) != expected:
                raise StoreError(f"{len(frame)} rows where the record has {expected}")
            name = f"{attempt}/part-{number:05d}.parquet"
            yield _write_part(store, part_rows(frame), name, scratch)


def _write_part(store: Store, frame: pl.DataFrame, name: str, scratch: Path) -> Part:
    frame.write_parquet(scratch, compression="zstd")
    store.create_from(name, scratch, {"rows": str(len(frame))})
    data = scratch.read_bytes()
    return Part(name=name, rows=len(frame), size=len(data), crc32c=crc32c(data))


def _groups(claims: Iterable[Claim]) -> Iterator[list[Claim]]:
    """Consecutive claims whose segments together have about PART_BYTES."""
    group: list[Claim] = []
    size = 0
    for item in claims:
        if group and size + item.size > PART_BYTES:
            yield group
            group, size = [], 0
        group.append(item)
        size += item.size
    if group:
        yield group


def read_claim(store: Readable, item: Claim) -> Rows:
    """The rows that a claim stands for; raises ObjectLost if they are not what was recorded.

    Also raises what `store` raises if the segment cannot be read.
    """
    data = store.read(item.segment)
    if crc32c(data) != item.crc32c:
        raise ObjectLost(item.segment, "is not what was recorded: its checksum differs")
    named = parse_name(item.segment)
    if named is None or named[0] != item.wallet:
        raise ObjectLost(item.segment, f"is not a segment of {item.wallet}")
    try:
        source, rows = read_payload(data, item.wallet, named[1], item.source)
    except ContractBroken as error:
        raise ObjectLost(item.segment, f"cannot be read: {error}") from error
    claimed = list(within(rows, Interval(item.start, item.until)))
    if len(claimed) != item.rows:
        raise ObjectLost(item.segment, f"has {len(claimed)} rows, its record says {item.rows}")
    return Rows(source, claimed)


def unreadable(readings: Readings, segments: Iterable[Segment]) -> Iterator[tuple[str, str]]:
    """(name, reason) of each recorded segment that cannot be combined; reads all of them."""
    for segment in segments:
        try:
            read_claim(readings, claim(segment, ""))
        except _OWN as error:
            yield segment.name, error.why


def _frame(found: Iterable[Rows]) -> pl.DataFrame:
    """Rows of many segments as rows of the table.

    Rows of one source become one frame: a frame for each of thousands of small segments would take
    ten times as long.
    """
    of: dict[str, list[Trade]] = {}
    for source, rows in found:
        if source is not None:
            of.setdefault(source, []).extend(rows)
    return table_rows(pl.concat([served_frame(source, rows) for source, rows in of.items()]))


def _lost(store: Store, claims: Iterable[Claim]) -> Iterator[tuple[str, PolycopyError]]:
    """(wallet, error) of each claim that cannot be combined even on its own."""
    readings = Readings(store)
    for item in claims:
        try:
            found = read_claim(readings, item)
            if found.rows:
                _frame([found])
        except _OWN as error:
            yield item.wallet, error
        except PolycopyError:
            raise  # the store cannot be read: not the wallet's fault
        except Exception as error:  # noqa: BLE001 - any error here is this wallet's failure
            yield item.wallet, Unexpected(error)


def _clear(store: Store, prefix: str, *, keep: Collection[str]) -> None:
    for item in list(store.list(prefix)):
        if item.name not in keep:
            store.delete(item.name)


def identity(item: Claim) -> tuple[str, int, str]:
    """What identifies a claim: its segment, the second from which it counts, its checksum."""
    return (item.segment, item.start, item.crc32c)
