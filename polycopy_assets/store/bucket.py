"""Whether a bucket that we did not create keeps what is put into it.

`bucket` is the resource of `buckets.get`, by the names of Google's JSON interface. What is not
refused here is used as it is; docs/google-cloud.md lists all of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from polycopy_assets.feeds.known import FEEDS

FIELDS = "billing,defaultEventBasedHold,lifecycle,location,locationType"
"""What is asked for."""

_MAY_VANISH = tuple(
    folder for feed in FEEDS.values() for folder in (feed.names.parts, feed.names.summaries)
)
"""Objects that are made again from others, of every feed."""

_NEVER_OURS = ("daysSinceCustomTime", "customTimeBefore")
_REPLACED = ("numNewerVersions", "daysSinceNoncurrentTime", "noncurrentTimeBefore")
"""Conditions that only hold for versions of an object that have been deleted or replaced."""

REQUESTER_PAYS = (
    "has requester pays, and should not: polycopy names no project that pays"
    " (gcloud storage buckets update --no-requester-pays)"
)


def wrong_with(bucket: Mapping[str, Any], prefix: str) -> str:
    """Why objects below `prefix` are not safe in a bucket, in one line, or nothing.

    `prefix` is empty, or ends in `/`. The name of the bucket is not part of the line.
    """
    return next(_wrong(bucket, prefix), "")


def _wrong(bucket: Mapping[str, Any], prefix: str) -> Iterator[str]:
    if bucket.get("billing", {}).get("requesterPays"):
        yield REQUESTER_PAYS
    if bucket.get("defaultEventBasedHold"):
        yield (
            "holds every new object (default event-based hold), and should not: no damaged object"
            " could ever be replaced (gcloud storage buckets update --no-default-event-based-hold)"
        )
    for rule in bucket.get("lifecycle", {}).get("rule", []):
        condition = rule.get("condition", {})
        if rule.get("action", {}).get("type") == "Delete" and _deletes(condition, prefix):
            said = ", ".join(
                f"{name} {value}" for name, value in sorted(condition.items()) if value != []
            )
            yield (
                f"has a lifecycle rule that deletes objects ({said}), and should not: trades would"
                " vanish. Limit it to other prefixes (matchesPrefix), or to old versions"
                " (daysSinceNoncurrentTime)"
            )


def _deletes(condition: Mapping[str, Any], prefix: str) -> bool:
    """Whether a rule may delete an object below `prefix` that nothing else makes again.

    All conditions of a rule have to hold, and one of the prefixes.
    """
    if condition.get("isLive") is False:
        return False
    # A number 0 does not limit the rule: an object that is there has 0 newer versions.
    if any(condition.get(name) for name in (*_NEVER_OURS, *_REPLACED)):
        return False
    prefixes: Sequence[str] = condition.get("matchesPrefix") or [""]
    return any(_meets(each, prefix) for each in prefixes)


def _meets(named: str, prefix: str) -> bool:
    """Whether names that start with `named` may be ours, and of objects that must last."""
    if named.startswith(tuple(prefix + kind for kind in _MAY_VANISH)):
        return False
    return named.startswith(prefix) or prefix.startswith(named)
