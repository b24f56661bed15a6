"""Where a bucket may be for load jobs into a dataset.

Source: https://cloud.google.com/bigquery/docs/batch-loading-data#data-locations. A dataset in `US`
takes files from anywhere.
"""

_MULTI_REGIONS = frozenset({"US", "EU", "ASIA"})


def apart(bucket: tuple[str, str], dataset: str) -> bool:
    """Whether load jobs cannot read from a bucket into a dataset in location `dataset`.

    `bucket` is its `location` and `locationType`. False if it depends on what a location contains.
    """
    where, kind = bucket[0].upper(), bucket[1]
    to = dataset.upper()
    if to in {"US", where}:
        return False
    if to == "EU":
        return not where.startswith("EU")
    return kind == "region" or where in _MULTI_REGIONS
