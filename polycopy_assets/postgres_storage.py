"""The storage in Postgres under the name that `dagster.yaml` uses."""

from polycopy_assets.record.private.postgres_storage import PooledPostgresStorage

__all__ = ["PooledPostgresStorage"]
