"""The event log under the name that the `dagster.yaml` of existing homes uses."""

from polycopy_assets.record.private.event_log import PooledSqliteEventLogStorage

__all__ = ["PooledSqliteEventLogStorage"]
