"""The record: what Dagster's materializations of `wallet_trades` say, written and read.

A wallet's latest materialization lists its segments; its data version carries the row count and
changes with the segments that hold trades. A materialization reported by hand in the UI has no
such data version and does not make a wallet complete.
"""

import re
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg
import msgspec
from dagster import AssetRecordsFilter, DagsterEventType

from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.record import commit
from polycopy_assets.text import counted, size
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import BEGINNING
from polycopy_assets.trades.segment import Segment, data_version, is_whole, rows_in_version

WALLET_TRADES = dg.AssetKey("wallet_trades")
DATA_VERSION_TAG = "dagster/data_version"
_PAGE = 500
_NAMED = 500
"""The most wallets that are named in a query; for more, it asks for all."""

Metadata = Mapping[str, dg.MetadataValue]
_REVOCATION = re.compile(r"revoked-([0-9]+)-[0-9a-f]{16}")
NEWER_THAN_FILE = "trades_behind"
"""The key keeps its old name, because records are read for years, also by older versions."""

SEGMENTS = "segments"
"""The metadata key of the segments, for machines: see `record.commit`."""

STORED = "stored"
"""The metadata key of how many segments there are and how large they are, for people."""

FETCH, HORIZON = "fetch", "horizon"
"""The metadata key of how the wallet was fetched, and in it that of the horizon.

An older version wrote the horizon as metadata of its own.
"""

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
        found = self._json(name)
        return tuple(found) if isinstance(found, dict) else ()

    @property
    def horizon(self) -> Horizon | None:
        """The horizon when the wallet was fetched, if the record has it."""
        how = self._json(FETCH)
        said = how.get(HORIZON) if isinstance(how, dict) else self._json(HORIZON)
        try:
            return msgspec.convert(said, Horizon)
        except msgspec.ValidationError:
            return None  # there is none, or metadata of that name that are not ours

    def _json(self, name: str) -> object:
        value = self.metadata.get(name)
        return value.data if isinstance(value, dg.JsonMetadataValue) else None

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


def describe(fetched: Fetched) -> tuple[str, Metadata]:
    """The data version and metadata that record a fetch, in the order in which people read them.

    Small, because Dagster keeps them for years: see docs/decisions.
    """
    segments = fetched.segments
    times = [t for s in segments for t in (s.first, s.last) if t is not None]
    metadata: dict[str, dg.MetadataValue] = {
        "covered_until": dg.MetadataValue.timestamp(_utc(fetched.covered_until))
    }
    if times:
        metadata["first_trade"] = dg.MetadataValue.timestamp(_utc(min(times)))
        metadata["last_trade"] = dg.MetadataValue.timestamp(_utc(max(times)))
    metadata |= {
        "dagster/row_count": dg.MetadataValue.int(sum(s.rows for s in segments)),
        "new_rows": dg.MetadataValue.int(fetched.new_rows),
        STORED: dg.MetadataValue.text(_stored(segments)),
    }
    how: dict[str, object] = {
        "source": fetched.source,
        "requests": fetched.requests,
        "seconds": round(fetched.seconds, 3),
    }
    if fetched.horizon is not None:
        how[HORIZON] = msgspec.to_builtins(fetched.horizon)
    metadata[FETCH] = dg.MetadataValue.json(how)
    for name in COUNTED:
        if found := getattr(fetched, name):
            metadata[name] = dg.MetadataValue.json(dict(found))
    metadata[SEGMENTS] = dg.MetadataValue.text(commit.encode(segments, fetched.covered_until))
    return data_version(segments), metadata


def _stored(segments: Sequence[Segment]) -> str:
    return f"{counted(len(segments), 'segment')}, {size(sum(s.size for s in segments))}"


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
    return read(wallet, found[0].run_id, event)


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


def latest_ids(
    instance: dg.DagsterInstance, wallets: Collection[str] | None = None
) -> Mapping[str, int]:
    """The id of the latest materialization of every wallet, or of each of `wallets`; one query."""
    return instance.event_log_storage.get_latest_storage_id_by_partition(
        WALLET_TRADES,
        DagsterEventType.ASSET_MATERIALIZATION,
        partitions=set(wallets) if wallets is not None else None,
    )


def _latest(instance: dg.DagsterInstance, wallets: Collection[str]) -> Iterator[dg.EventLogRecord]:
    """The latest materialization of each of `wallets` that has one, read in pages."""
    if not wallets:
        return
    latest = latest_ids(instance, wallets if len(wallets) <= _NAMED else None)
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
                yield event.partition, read(event.partition, item.run_id, event)
            except PolycopyError as error:
                yield event.partition, error


def read(wallet: str, run_id: str, event: dg.AssetMaterialization) -> Record:
    """The record that an event of a run is; raises PolycopyError if it is not a whole one."""
    named = f"the record of {wallet} (run {run_id})"
    try:
        found = _commit(wallet, event.metadata.get(SEGMENTS))
    except PolycopyError as error:
        raise PolycopyError(f"{named} {error}") from error
    if not is_whole(found.segments, found.covered_until):
        raise PolycopyError(f"{named} has a gap in its coverage")
    return Record(
        wallet=wallet,
        version=(event.tags or {}).get(DATA_VERSION_TAG, ""),
        run_id=run_id,
        segments=found.segments,
        covered_until=found.covered_until,
        metadata=event.metadata,
    )


def _commit(wallet: str, value: dg.MetadataValue | None) -> commit.Commit:
    """What the metadata say of the segments; an older version wrote them as a table."""
    if isinstance(value, dg.TextMetadataValue):
        return commit.decode(wallet, value.text or "")
    if not isinstance(value, dg.TableMetadataValue):
        raise PolycopyError("lists no segments")
    try:
        segments = tuple(Segment.of_row(wallet, row.data) for row in value.records)
    except msgspec.ValidationError as error:
        raise PolycopyError(f"is damaged: {error}") from error
    return commit.Commit(segments, max((s.until for s in segments), default=BEGINNING))


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
