"""Which events no longer count, by those that came after them.

The rule knows nothing of what our events contain, so it holds for events of later versions too:

- The latest event of each kind stays, for each partition and for each asset.
- A failed attempt (an observation) and a plan to materialize count until the partition is
  materialized. Dagster derives from them that a wallet has failed.
- An observation without a partition stays, unless it only tells people what was done or seen.
- The event with a result of a check stays as long as the result.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence

import dagster as dg
from dagster import AssetRecordsFilter

from polycopy_assets.record import fetch_reports
from polycopy_assets.record.private.stored_events import (
    MATERIALIZATION,
    OBSERVATION,
    PAGE,
    PLANNED,
    StoredCheck,
    StoredEvent,
    StoredEvents,
)

_UNTIL_MATERIALIZED = frozenset({OBSERVATION, PLANNED})


def superseded(
    instance: dg.DagsterInstance,
    stored: StoredEvents,
    page: Sequence[StoredEvent],
    checks: Collection[StoredCheck] = (),
) -> list[int]:
    """The ids of those events of a page that no longer count; `checks` are those that do."""
    by_asset: dict[str, list[StoredEvent]] = defaultdict(list)
    results = {check.event_id for check in checks}
    gone = []
    for event in page:
        if event.asset is not None:
            by_asset[event.asset].append(event)
        elif event.id not in results:
            gone.append(event.id)
    for asset, events in by_asset.items():
        gone += _of_asset(instance, stored, asset, events)
    return gone


def _of_asset(
    instance: dg.DagsterInstance, stored: StoredEvents, asset: str, events: Sequence[StoredEvent]
) -> list[int]:
    kinds = {event.kind for event in events}
    partitions = {event.partition for event in events}
    latest = stored.latest_by_partition(asset, {*kinds, MATERIALIZATION}, partitions)
    of_all = stored.latest_of_kind(asset, kinds)
    gone, unsure = [], []
    for event in events:
        if event.id in of_all:
            continue
        if event.kind == OBSERVATION and event.partition is None:
            unsure.append(event.id)
        elif event.id < latest.get((event.kind, event.partition), 0) or (
            event.kind in _UNTIL_MATERIALIZED
            and event.id < latest.get((MATERIALIZATION, event.partition), 0)
        ):
            gone.append(event.id)
    return gone + _only_told(instance, asset, unsure)


def _only_told(instance: dg.DagsterInstance, asset: str, ids: Sequence[int]) -> list[int]:
    """Those of the observations `ids` that only tell people what was done or seen."""
    key = dg.AssetKey.from_db_string(asset)
    if not ids or key is None:
        return []
    found = instance.fetch_observations(
        AssetRecordsFilter(asset_key=key, storage_ids=list(ids)), limit=PAGE
    ).records
    return [
        item.storage_id
        for item in found
        if item.asset_observation and fetch_reports.only_tells(item.asset_observation)
    ]
