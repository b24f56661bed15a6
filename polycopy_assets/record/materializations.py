"""The record: what Dagster's materializations of `wallet_trades` say, written and read.

A wallet's latest materialization lists its segments; its data version carries the row count and
changes with the segments that hold trades. A materialization reported by hand in the UI has no
such data version and does not make a wallet complete.
"""

import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime

import dagster as dg
import msgspec
from dagster import AssetRecordsFilter, DagsterEventType

from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.segment import Segment, coverage, data_version, rows_in_version

WALLET_TRADES = dg.AssetKey("wallet_trades")
DATA_VERSION_TAG = "dagster/data_version"
_PAGE = 500

Metadata = Mapping[str, dg.MetadataValue]
_REVOCATION = re.compile(r"revoked-([0-9]+)-[0-9a-f]{16}")
NEWER_THAN_FILE = "trades_behind"
"""The key keeps its old name, because records are read for years, also by older versions."""

HORIZON = "horizon"
"""The metadata key of the horizon."""

COUNTED = ("unknown_fields", "oddities")
"""Metadata that count strange rows: those with unlisted fields, and with strange values."""


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
        """The horizon when the wallet was fetched, if the record has it."""
        value = self.metadata.get(HORIZON)
        if not isinstance(value, dg.JsonMetadataValue):
            return None
        try:
            return msgspec.convert(value.data, Horizon)
        except msgspec.ValidationError:
            return None  # metadata of that name that is not ours

    @property
    def newer(self) -> int:
        """How many trades are known to be newer than what was adopted from an old file."""
        value = self.metadata.get(NEWER_THAN_FILE)
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
    """The data version and metadata that record a fetch; `uri` is where its segments are."""
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


def revoked(instance: dg.DagsterInstance) -> dict[str, int]:
    """The wallets whose record was revoked and that have not been fetched again; one query.

    Each with the time (epoch seconds) until which the revoked record covered it.
    """
    found = _latest_versions(instance).items()
    matches = ((wallet, _REVOCATION.fullmatch(version)) for wallet, version in found)
    return {wallet: int(match[1]) for wallet, match in matches if match}


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


def longest_ago_first(instance: dg.DagsterInstance, wallets: Collection[str]) -> list[str]:
    """`wallets`, earliest end of coverage first; those without a readable record before all."""
    until = dict.fromkeys(wallets, 0)
    for wallet, found in read_all(instance, wallets):
        if isinstance(found, Record):
            until[wallet] = found.covered_until
    return sorted(wallets, key=lambda wallet: until[wallet])


def ledger(
    instance: dg.DagsterInstance, wallets: Collection[str] | None = None
) -> Iterator[tuple[str, Record | PolycopyError]]:
    """Every wallet, or each of `wallets`, that is complete by the record, read in pages.

    With each comes its record, or what is wrong with it.
    """
    yield from read_all(instance, versions(instance, wallets))


def revocation(wallet: str, why: str, until: int) -> dg.AssetMaterialization:
    """The event that revokes a record: the wallet is not complete until it is fetched.

    `until` is when (epoch seconds) the record's coverage ended: while the store covers less, the
    wallet has lost something. Dagster cannot delete a materialization, so a newer one without a
    polycopy data version replaces it.
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
    """The latest record of one wallet; also None if it cannot be read."""
    try:
        return record(instance, wallet)
    except PolycopyError:
        return None


def recorded_by(instance: dg.DagsterInstance, run_ids: Iterable[str]) -> set[str]:
    """The wallets whose latest record was written by one of the given runs.

    An event is written to its run's log first, and then to the record. If a run is killed in
    between, only its log has the event, so only the record counts.
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
    """The latest record of each of `wallets` that has one, read in pages.

    Or what is wrong with it: it names no segments, or its coverage has a gap.
    """
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
        segments = tuple(Segment.of_row(wallet, row.data) for row in table.records)
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
        dg.TableColumn("until", "int", "first second no longer covered, epoch seconds"),
        dg.TableColumn("rows", "int", "trades"),
        dg.TableColumn("size", "int", "bytes of the gzip file"),
        dg.TableColumn("crc32c", "string", "checksum of the file"),
        dg.TableColumn("first", "int", "oldest trade, epoch seconds"),
        dg.TableColumn("last", "int", "newest trade, epoch seconds"),
        dg.TableColumn("claim_start", "int", "where it counts from, if an older segment overlaps"),
        dg.TableColumn("source", "string", "API that served it; `checkpoint`: an old job's file"),
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
