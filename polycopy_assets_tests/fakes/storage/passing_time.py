"""What a bucket does as time passes: lifecycle rules, Autoclass, and the end of soft deletion.

Sources, below https://cloud.google.com/storage/docs: lifecycle (all conditions of a rule must hold;
an object under a hold, or with retention that is not met, is not deleted), autoclass (objects of
128 KiB and more get colder when nobody reads them; lifecycle rules that set a class do nothing),
soft-delete.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from polycopy_assets_tests.fakes.storage.model import Bucket, Refused, Version

COLDER = ((90, "COLDLINE"), (30, "NEARLINE"))
"""Days without a read after which Autoclass makes an object colder; ARCHIVE only if asked for."""

SMALL = 128 * 1024


def pass_time(bucket: Bucket) -> None:
    """Does what is due by the bucket's clock."""
    kept = int(bucket.resource["softDeletePolicy"].get("retentionDurationSeconds", 0))
    bucket.soft_deleted = [
        each
        for each in bucket.soft_deleted
        if each.deleted is not None and bucket.now() - each.deleted < timedelta(seconds=kept)
    ]
    autoclass = bucket.resource.get("autoclass", {}).get("enabled")
    if autoclass:
        for each in bucket.live.values():
            _cool(each, bucket.now())
    for rule in bucket.resource.get("lifecycle", {}).get("rule", []):
        action, condition = rule["action"], rule.get("condition", {})
        if action["type"] == "AbortIncompleteMultipartUpload":
            age = timedelta(days=condition["age"])
            bucket.uploads = {k: at for k, at in bucket.uploads.items() if bucket.now() - at < age}
            continue
        for each in [*bucket.live.values(), *bucket.noncurrent]:
            if not _holds(condition, each, bucket):
                continue
            if action["type"] == "SetStorageClass":
                each.storage_class = each.storage_class if autoclass else action["storageClass"]
            else:
                with suppress(Refused):
                    bucket.delete(each.name, None if each.gone is None else each.generation)


def _cool(each: Version, now: datetime) -> None:
    idle = now - (each.read or each.created)
    if len(each.data) >= SMALL:
        for days, kind in COLDER:
            if idle >= timedelta(days=days):
                each.storage_class = kind
                return


def _holds(condition: Mapping[str, Any], each: Version, bucket: Bucket) -> bool:
    """Whether all conditions of a rule hold for an object; raises KeyError for an unknown one."""
    now = bucket.now()
    newer = [
        other
        for other in [*bucket.live.values(), *bucket.noncurrent]
        if other.name == each.name and other.generation > each.generation
    ]
    custom = each.shown.get("customTime")
    checks: dict[str, Callable[[Any], bool]] = {
        "age": lambda days: now - each.created >= timedelta(days=days),
        "createdBefore": lambda day: each.created < _midnight(day),
        "isLive": lambda live: live == (each.gone is None),
        "numNewerVersions": lambda number: len(newer) >= number,
        "daysSinceNoncurrentTime": lambda days: (
            each.gone is not None and now - each.gone >= timedelta(days=days)
        ),
        "noncurrentTimeBefore": lambda day: each.gone is not None and each.gone < _midnight(day),
        "daysSinceCustomTime": lambda days: (
            custom is not None and now - datetime.fromisoformat(custom) >= timedelta(days=days)
        ),
        "matchesPrefix": lambda some: not some or each.name.startswith(tuple(some)),
        "matchesSuffix": lambda some: not some or each.name.endswith(tuple(some)),
        "matchesStorageClass": lambda some: not some or each.storage_class in some,
    }
    return all(checks[name](value) for name, value in condition.items())


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)
