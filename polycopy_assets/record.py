"""The record: what Dagster's materializations of `wallet_trades` say, written and read.

A wallet's latest materialization lists its segments; its data version carries the row count and
changes with the segments that hold trades. A materialization that somebody reported by hand in
the UI has no such data version and does not make a wallet complete.
"""

import hashlib
import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from datetime import UTC, datetime

import dagster as dg
import msgspec
from dagster import AssetRecordsFilter, DagsterEventType

from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.wallet import Fetched
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.segment import Segment, coverage, data_version, rows_in_version

WALLET_TRADES = dg.AssetKey("wallet_trades")
DATA_VERSION_TAG = "dagster/data_version"
_PAGE = 500

Metadata = Mapping[str, dg.MetadataValue]
_REVOCATION = re.compile(r"revoked-([0-9]+)-[0-9a-f]{16}")
BEHIND = "trades_behind"
HORIZON = "horizon"
"""Metadata that keep how far the source could be asked, and why no further."""

COUNTED = ("unknown_fields", "oddities")
"""Metadata that count rows by what was noticed in them: unlisted fields, and strange values."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet's latest materialization: its segments, and until when it is covered."""

    wallet: str
    version: str
    run_id: str
    segments: tuple[Segment, ...]
    covered_until: int
    metadata: Metadata

    def counted(self, name: str) -> tuple[str, ...]:
        """What was counted under `name`, one of `COUNTED`, in the source's latest answers."""
        value = self.metadata.get(name)
        found = value.data if isinstance(value, dg.JsonMetadataValue) else None
        return tuple(found) if isinstance(found, dict) else ()

    @property
    def horizon(self) -> Horizon | None:
        """How far the source could be asked when the wallet was fetched, if the record tells."""
        value = self.metadata.get(HORIZON)
        if not isinstance(value, dg.JsonMetadataValue):
            return None
        try:
            return msgspec.convert(value.data, Horizon)
        except msgspec.ValidationError:
            return None  # metadata of that name, from somebody else

    @property
    def behind(self) -> int:
        """How many trades are known behind what was taken over from an old file."""
        value = self.metadata.get(BEHIND)
        return value.value or 0 if isinstance(value, dg.IntMetadataValue) else 0


def materialization(wallet: str, version: str, metadata: Metadata) -> dg.AssetMaterialization:
    """The event that commits `wallet`; call it after the last segment is durable."""
    return dg.AssetMaterialization(
        asset_key=WALLET_TRADES,
        partition=wallet,
        metadata=metadata,
        tags={DATA_VERSION_TAG: version},
    )


def describe(fetched: Fetched, uri: str) -> tuple[str, Metadata]:
    """The data version and metadata that record a fetch; `uri` is where its segments lie."""
    segments = fetched.segments
    times = [t for s in segments for t in (s.first, s.last) if t is not None]
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/row_count": dg.MetadataValue.int(sum(s.rows for s in segments)),
        "dagster/uri": dg.MetadataValue.text(uri),
        "new_rows": dg.MetadataValue.int(fetched.new_rows),
        "covered_until": dg.MetadataValue.timestamp(_utc(fetched.covered_until)),
        "segments": _segment_table(segments),
        "size_bytes": dg.MetadataValue.int(sum(s.size for s in segments)),
        "requests": dg.MetadataValue.int(fetched.requests),
        "source": dg.MetadataValue.text(fetched.source),
        "seconds": dg.MetadataValue.float(round(fetched.seconds, 3)),
    }
    if fetched.horizon is not None:
        metadata[HORIZON] = dg.MetadataValue.json(msgspec.to_builtins(fetched.horizon))
    if times:
        metadata["first_trade"] = dg.MetadataValue.timestamp(_utc(min(times)))
        metadata["last_trade"] = dg.MetadataValue.timestamp(_utc(max(times)))
    for name in COUNTED:
        if found := getattr(fetched, name):
            metadata[name] = dg.MetadataValue.json(dict(found))
    return data_version(segments), metadata


def versions(
    instance: dg.DagsterInstance, wallets: Collection[str] | None = None
) -> dict[str, str]:
    """The data version of every wallet, or of each of `wallets`, that is complete by the record.

    One query.
    """
    found = _latest_versions(instance, wallets).items()
    return {wallet: version for wallet, version in found if rows_in_version(version) is not None}


def taken_back(instance: dg.DagsterInstance) -> dict[str, int]:
    """The wallets whose latest record is a revocation: not fetched again yet; one query.

    And until when (epoch seconds) the record covered them that was taken back.
    """
    found = _latest_versions(instance).items()
    revoked = ((wallet, _REVOCATION.fullmatch(version)) for wallet, version in found)
    return {wallet: int(version[1]) for wallet, version in revoked if version}


def _latest_versions(
    instance: dg.DagsterInstance, wallets: Collection[str] | None = None
) -> dict[str, str]:
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        WALLET_TRADES,
        DagsterEventType.ASSET_MATERIALIZATION,
        tag_keys=[DATA_VERSION_TAG],
        asset_partitions=None if wallets is None else list(wallets),
    )
    return {wallet: tag.get(DATA_VERSION_TAG, "") for wallet, tag in tags.items()}


def digest(versions: Mapping[str, str]) -> str:
    """Names one state of the record: it differs as soon as any wallet's version does."""
    text = "\n".join(f"{wallet} {version}" for wallet, version in sorted(versions.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def rows(versions: Mapping[str, str]) -> dict[str, int]:
    """The recorded row count of each wallet."""
    return {wallet: rows_in_version(version) or 0 for wallet, version in versions.items()}


def longest_ago_first(instance: dg.DagsterInstance, wallets: Collection[str]) -> list[str]:
    """`wallets`, those first whose coverage ends first; what has no legible record before all."""
    until = dict.fromkeys(wallets, 0)
    for wallet, found in read_all(instance, wallets):
        if isinstance(found, Record):
            until[wallet] = found.covered_until
    return sorted(wallets, key=lambda wallet: until[wallet])


def records(
    instance: dg.DagsterInstance,
    wallets: Collection[str],
    illegible: MutableMapping[str, PolycopyError] | None = None,
) -> Iterator[Record]:
    """The latest record of each of `wallets` that has one, read in pages.

    What is wrong with a record that names no segments, or whose coverage has a gap, is put into
    `illegible` by its wallet, and raised as PolycopyError without that.
    """
    for wallet, found in read_all(instance, wallets):
        if isinstance(found, Record):
            yield found
        elif illegible is None:
            raise found
        else:
            illegible[wallet] = found


def ledger(
    instance: dg.DagsterInstance, wallets: Collection[str] | None = None
) -> Iterator[tuple[str, Record | PolycopyError]]:
    """Every wallet, or each of `wallets`, that is complete by the record, in pages.

    Its record, or what is wrong with it.
    """
    yield from read_all(instance, versions(instance, wallets))


def revocation(wallet: str, why: str, until: int) -> dg.AssetMaterialization:
    """The event that takes a record back: the wallet is not complete until it is fetched.

    `until` is when (epoch seconds) the record's coverage ended: as long as the store covers less,
    the wallet has lost something. Dagster cannot delete a materialization; a later one without a
    data version of ours counts.
    """
    return materialization(
        wallet,
        f"revoked-{until}-{uuid.uuid4().hex[:16]}",
        {"revoked": dg.MetadataValue.text(why)},
    )


def record(instance: dg.DagsterInstance, wallet: str) -> Record | None:
    """The latest record of one wallet, if it is one of ours."""
    found = instance.fetch_materializations(
        AssetRecordsFilter(asset_key=WALLET_TRADES, asset_partitions=[wallet]), limit=1
    ).records
    event = found[0].asset_materialization if found else None
    if event is None or rows_in_version((event.tags or {}).get(DATA_VERSION_TAG, "")) is None:
        return None
    return _read(wallet, found[0].run_id, event)


def record_or_none(instance: dg.DagsterInstance, wallet: str) -> Record | None:
    """The latest record of one wallet; also None if it cannot be a record of ours."""
    try:
        return record(instance, wallet)
    except PolycopyError:
        return None


def recorded_by(instance: dg.DagsterInstance, run_ids: Iterable[str]) -> set[str]:
    """The wallets whose latest record was written by one of the given runs.

    An event goes to its run's log first and to the record behind it. A run killed in between has
    the event and the record has not, so the record is what counts.
    """
    runs = set(run_ids)
    noted: set[str] = set()
    for run_id in runs:
        for entry in instance.all_logs(run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION):
            event = entry.dagster_event
            if event is not None and event.asset_key == WALLET_TRADES and event.partition:
                noted.add(event.partition)
    return {
        str(item.partition_key)
        for item in _latest(instance, noted)
        if item.run_id in runs and item.partition_key
    }


def _latest(instance: dg.DagsterInstance, wallets: Collection[str]) -> Iterator[dg.EventLogRecord]:
    """The latest materialization of each of `wallets` that has one, read in pages."""
    if not wallets:
        return
    latest = instance.event_log_storage.get_latest_storage_id_by_partition(
        WALLET_TRADES, DagsterEventType.ASSET_MATERIALIZATION
    )
    ids = sorted(latest[wallet] for wallet in wallets if wallet in latest)
    for start in range(0, len(ids), _PAGE):
        page = ids[start : start + _PAGE]
        yield from instance.fetch_materializations(
            AssetRecordsFilter(asset_key=WALLET_TRADES, storage_ids=page), limit=_PAGE
        ).records


def read_all(
    instance: dg.DagsterInstance, wallets: Collection[str]
) -> Iterator[tuple[str, Record | PolycopyError]]:
    """The latest record of each of `wallets` that has one, or what is wrong with it."""
    for item in _latest(instance, wallets):
        event = item.asset_materialization
        if event is not None and event.partition is not None:
            try:
                yield event.partition, _read(event.partition, item.run_id, event)
            except PolycopyError as error:
                yield event.partition, error


def _read(wallet: str, run_id: str, event: dg.AssetMaterialization) -> Record:
    table = event.metadata.get("segments")
    if not isinstance(table, dg.TableMetadataValue):
        raise PolycopyError(f"the record of {wallet} (run {run_id}) lists no segments")
    try:
        segments = tuple(
            msgspec.convert({"wallet": wallet, **row.data}, Segment) for row in table.records
        )
    except msgspec.ValidationError as error:
        raise PolycopyError(f"the record of {wallet} (run {run_id}) is damaged: {error}") from error
    until = coverage(segments)
    if until is None:
        raise PolycopyError(f"the record of {wallet} (run {run_id}) has a gap in its coverage")
    return Record(
        wallet=wallet,
        version=(event.tags or {}).get(DATA_VERSION_TAG, ""),
        run_id=run_id,
        segments=segments,
        covered_until=until,
        metadata=event.metadata,
    )


_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("start", "int", "first second covered, epoch seconds"),
        dg.TableColumn("until", "int", "first second not covered any more, epoch seconds"),
        dg.TableColumn("rows", "int", "trades"),
        dg.TableColumn("size", "int", "bytes of the gzip file"),
        dg.TableColumn("crc32c", "string", "checksum of the file"),
        dg.TableColumn("first", "int", "oldest trade, epoch seconds"),
        dg.TableColumn("last", "int", "newest trade, epoch seconds"),
        dg.TableColumn("claim_start", "int", "where it counts from, if an older segment overlaps"),
        dg.TableColumn("source", "string", "who served it; `checkpoint` if the old job's file"),
    ]
)


def _segment_table(segments: Iterable[Segment]) -> dg.MetadataValue:
    names = [column.name for column in _COLUMNS.columns]
    return dg.MetadataValue.table(
        [dg.TableRecord({name: getattr(s, name) for name in names}) for s in segments],
        schema=_COLUMNS,
    )


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
