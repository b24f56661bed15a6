"""The results of combining and loading, as Dagster keeps them: versions, metadata, checks."""

from collections.abc import Iterable, Mapping
from pathlib import PurePath

import dagster as dg

from polycopy_assets.assets.charts import CHARTED_WALLETS, rows_chart
from polycopy_assets.assets.columns import lineage_of
from polycopy_assets.checks.shown import shown
from polycopy_assets.errors import PolycopyError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.pipeline.combine import Combined
from polycopy_assets.pipeline.load import LoadReport
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.loads import RECORD
from polycopy_assets.record.materializations import DATA_VERSION_TAG
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import current
from polycopy_assets.trades.segment import record_digest, recorded_rows
from polycopy_assets.warehouse.feed_table import FeedTable, cost_metadata

NAMED_WALLETS = 20
RECORD_HAS_ITS_DATA = "record_has_its_data"
BATCHES_HOLD = "batches_hold"
"""The checks that say what a combine had to leave out: of the record, and of the batches."""

_WALLETS_LEFT_OUT, _BATCHES_LEFT = "wallets_left_out", "batches_left"
"""The metadata of those checks that say how many."""

BIGQUERY = "bigquery://"

Metadata = dict[str, dg.MetadataValue | int | str]


def combined_version(found: Combined) -> str:
    """The data version of a feed's batches: the last one."""
    return f"batches-{max((item.batch for item in found.batches), default=0)}"


def combined_metadata(found: Combined, store: FeedStore) -> Metadata:
    """The metadata of a materialization of the batches."""
    made = found.made
    return {
        RECORD: found.recorded,
        "dagster/row_count": sum(item.rows for item in current(found.batches, store.feed.schema)),
        "dagster/uri": store.uri(store.names.parts),
        "batches": len(found.batches),
        "new_batches": len(made),
        "new_rows": sum(item.rows for item in made),
        "new_segments": sum(len(item.claims) for item in made),
        "new_wallets": len({claim.wallet for item in made for claim in item.claims}),
        "new_parts": sum(len(item.parts) for item in made),
        "broken_batches": len(found.broken),
        **({"manifest": store.uri(store.names.manifest(made[-1].batch))} if made else {}),
    }


def loaded_version(last_batch: int) -> str:
    """The data version of a feed's table: the last batch that it has."""
    return f"batches-{last_batch}"


def is_recorded(record: FeedRecord, last_batch: int | None, versions: Mapping[str, str]) -> bool:
    """Whether the latest materialization of the table is of that last batch and those `versions`.

    It is not while a fetch loads beside it, or if the process ended before it recorded the load.
    """
    if not last_batch:
        return True
    event = record.instance.get_latest_materialization_event(record.keys.table)
    data = event.asset_materialization if event else None
    tags = data.tags if data and data.tags else {}
    state = data.metadata.get(RECORD) if data else None  # older versions did not always write it
    return tags.get(DATA_VERSION_TAG) == loaded_version(last_batch) and (
        state is None or state.value == record_digest(versions)
    )


def loaded_metadata(report: LoadReport, record: FeedRecord, table: FeedTable) -> Metadata:
    """The metadata of a materialization of the table."""
    return {
        **_combined(record),
        "dagster/row_count": table.count_rows(),
        "dagster/uri": table.uri,
        "dagster/table_name": qualified(table.uri, record.feed.table),
        # Dagster's pages read it from materializations only.
        "dagster/column_lineage": dg.MetadataValue.column_lineage(lineage_of(record.feed)),
        "batches_loaded": report.batches,
        "rows_inserted": report.inserted,
        "rows_deleted": report.deleted,
        **_picture(record, table),
        **cost_metadata(table.cost),
    }


def qualified(uri: str, table: str) -> str:
    """A table's name as Dagster wants it: database, schema, table."""
    place = uri.removeprefix(BIGQUERY)
    if place == uri:
        return f"{PurePath(uri).stem}.main.{table}"
    return f"{place.replace('/', '.')}.{table}"


def _picture(record: FeedRecord, table: FeedTable) -> dict[str, dg.MetadataValue]:
    """A chart of the table for people: rows by month, and wallets by size.

    None for a handful of wallets.
    """
    sizes = list(recorded_rows(record.versions()).values())
    if len(sizes) < CHARTED_WALLETS:
        return {}
    name = record.feed.table
    months, since = table.rows_by_month()
    largest = max(sizes)
    return {
        f"{name}_and_wallets": dg.MetadataValue.md(rows_chart(record.feed, months, sizes)),
        "wallets": dg.MetadataValue.int(len(sizes)),
        f"wallets_without_{name}": dg.MetadataValue.int(sum(not size for size in sizes)),
        f"largest_wallet_{name}": dg.MetadataValue.int(largest),
        "months_shown": dg.MetadataValue.text(f"since {since:%Y-%m}" if since else "all"),
    }


def _combined(record: FeedRecord) -> dict[str, dg.MetadataValue]:
    """The metadata that says which state of the record the batches hold, if there is any."""
    event = record.instance.get_latest_materialization_event(record.keys.combined)
    found = event.asset_materialization if event else None
    return {RECORD: found.metadata[RECORD]} if found and RECORD in found.metadata else {}


def evaluation(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """The event that keeps what a check found, for a step that is not the check's own."""
    assert result.asset_key is not None, "every check of ours names it"  # noqa: S101
    assert result.check_name is not None, "every check of ours names it"  # noqa: S101
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
    )


def left_by(evaluations: Iterable[dg.AssetCheckEvaluation]) -> tuple[int, int]:
    """How many wallets and broken batches a combine left out, by its checks."""
    numbers = {
        (found.check_name, name): value.value
        for found in evaluations
        for name, value in found.metadata.items()
        if isinstance(value, dg.IntMetadataValue)
    }
    return (
        numbers.get((RECORD_HAS_ITS_DATA, _WALLETS_LEFT_OUT)) or 0,
        numbers.get((BATCHES_HOLD, _BATCHES_LEFT)) or 0,
    )


def failed_line(found: dg.AssetCheckResult | dg.AssetCheckEvaluation) -> str:
    """What a failed check says, in one line that names it."""
    of = found.asset_key.to_user_string() if found.asset_key else "an asset"
    return f"{found.check_name} of {of}: {found.description}"


def check_of_record(feed: Feed, lost: Mapping[str, PolycopyError]) -> dg.AssetCheckResult:
    """Fails if wallets were left out of the combine."""
    named = {wallet: str(why) for wallet, why in sorted(lost.items())[:NAMED_WALLETS]}
    return dg.AssetCheckResult(
        check_name=RECORD_HAS_ITS_DATA,
        asset_key=asset_keys(feed).combined,
        passed=not lost,
        metadata={
            _WALLETS_LEFT_OUT: len(lost),
            **shown("first_wallets", named),
        },
        description=(
            f"{counted(len(lost), 'wallet was', 'wallets were')} left out, because the record, or"
            f" segments that it names, are gone, changed or cannot be read: {_first(named)}."
            " `polycopy reconcile --apply` fetches them again"
            if lost
            else "every new segment is in the store"
        ),
    )


def _first(named: Mapping[str, str]) -> str:
    wallet, why = next(iter(named.items()))
    return f"first {wallet}: {why}"


def check_of_batches(feed: Feed, found: Combined) -> dg.AssetCheckResult:
    """Fails if broken batches were found that could not be set aside."""
    stuck = dict(sorted(found.stuck.items())[:NAMED_WALLETS])
    first = next(iter(stuck.items()), None)
    return dg.AssetCheckResult(
        check_name=BATCHES_HOLD,
        asset_key=asset_keys(feed).combined,
        passed=not found.stuck,
        metadata={
            **shown(
                "set_aside",
                [[x.name, x.why] for x in found.broken if x.name not in found.stuck][
                    :NAMED_WALLETS
                ],
            ),
            **shown("left", stuck),
            _BATCHES_LEFT: len(found.stuck),
        },
        description=(
            f"{counted(len(found.stuck), 'broken batch', 'broken batches')} could not be set"
            f" aside, first {first[0]}: {first[1]}. Their {feed.rows} are combined"
            " again; move them away by hand"
            if first
            else f"{counted(len(found.broken), 'broken batch is', 'broken batches are')} set aside,"
            " and combined again"
            if found.broken
            else "every batch is intact"
        ),
    )
