"""What a materialization of a wallet says: the event of a feed's partitioned asset, made and read.

A wallet's latest materialization lists its segments; its data version carries the row count and
changes with the segments that hold rows. A materialization reported by hand in the UI has no
such data version and does not make a wallet complete. `FeedRecord` finds them in the event log.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg
import msgspec

from polycopy_assets.errors import PolycopyError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.record import commit
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.text import counted, size
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import BEGINNING
from polycopy_assets.trades.segment import Segment, data_version, is_whole

DATA_VERSION_TAG = "dagster/data_version"

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


def materialization(
    feed: Feed, wallet: str, version: str, metadata: Metadata
) -> dg.AssetMaterialization:
    """The event that commits `wallet`; call it after the last segment is durable."""
    return dg.AssetMaterialization(
        asset_key=asset_keys(feed).wallets,
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


def revocation(feed: Feed, wallet: str, why: str, until: int) -> dg.AssetMaterialization:
    """The event that revokes a record: the wallet is not complete until it is fetched.

    `until` is when (epoch seconds) the record's coverage ended: while the store covers less, the
    wallet has lost something. Dagster cannot delete a materialization, so a newer one without a
    polycopy data version replaces it.
    """
    return materialization(
        feed,
        wallet,
        f"revoked-{until}-{uuid.uuid4().hex[:16]}",
        {"revoked": dg.MetadataValue.text(why)},
    )


def revoked_until(version: str) -> int | None:
    """Until when (epoch seconds) a record covered its wallet that was revoked by `version`.

    None if that is not the data version of a revocation.
    """
    match = _REVOCATION.fullmatch(version)
    return int(match[1]) if match else None


def read(feed: Feed, wallet: str, run_id: str, event: dg.AssetMaterialization) -> Record:
    """The record that an event of a run is; raises PolycopyError if it is not a whole one."""
    named = f"the record of {wallet} (run {run_id})"
    try:
        found = _commit(feed.names.segments, wallet, event.metadata.get(SEGMENTS))
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


def _commit(folder: str, wallet: str, value: dg.MetadataValue | None) -> commit.Commit:
    """What the metadata say of the segments; an older version wrote them as a table."""
    if isinstance(value, dg.TextMetadataValue):
        return commit.decode(wallet, value.text or "", folder=folder)
    if not isinstance(value, dg.TableMetadataValue):
        raise PolycopyError("lists no segments")
    try:
        segments = tuple(Segment.of_row(wallet, r.data, folder=folder) for r in value.records)
    except msgspec.ValidationError as error:
        raise PolycopyError(f"is damaged: {error}") from error
    return commit.Commit(segments, max((s.until for s in segments), default=BEGINNING))


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
