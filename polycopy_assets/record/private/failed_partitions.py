"""The partitions that Dagster shows as failed.

Private: `AssetPartitionStatus`, the values of which the public `get_status_by_partition` returns,
has no public name. Pinned by `dagster/test_runs.py`.
"""

from collections.abc import Sequence

import dagster as dg
from dagster._core.storage.partition_status_cache import AssetPartitionStatus


def failed_partitions(
    instance: dg.DagsterInstance,
    asset_key: dg.AssetKey,
    partitions: dg.PartitionsDefinition,
    keys: Sequence[str],
) -> set[str]:
    """Those of `keys` whose latest run has failed without a materialization."""
    statuses = instance.get_status_by_partition(asset_key, keys, partitions) or {}
    return {key for key, status in statuses.items() if status == AssetPartitionStatus.FAILED}
