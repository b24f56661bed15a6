"""Google's quotas: which one an error speaks of, and when to come back.

Sources: Google's pages on quotas of BigQuery and on request rates of Cloud Storage.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

REASONS = frozenset({"quotaExceeded", "rateLimitExceeded", "resourcesExceeded"})


class Quota(NamedTuple):
    """A quota: words that Google's message has, what it limits, and how long it lasts."""

    words: str
    limit: str
    lasts: timedelta


_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)
QUOTAS = (
    Quota("imports or query appends per table", "1,500 load jobs a table and day", _DAY),
    Quota("imports per project", "100,000 load jobs a project and day", _DAY),
    Quota("load jobs per", "100,000 load jobs a project and day", _DAY),
    Quota("dml statements outstanding", "20 waiting MERGE statements a table", 10 * _MINUTE),
    Quota("dml jobs writing to a table", "20 waiting MERGE statements a table", 10 * _MINUTE),
    Quota("table update operations", "5 changes of a table's metadata in 10 s", _MINUTE),
    Quota("query usage per day", "the project's own cap on bytes queried a day", _DAY),
    Quota("quotaforbytesbilled", "the project's own cap on bytes queried a day", _DAY),
    Quota("concurrent queries", "concurrent queries of the project", 10 * _MINUTE),
    Quota("object mutation operations", "one write a second to an object", _MINUTE),
    Quota("api requests per", "API requests a user and second", _MINUTE),
)


def explain(reason: str, message: str, now: datetime | None = None) -> str | None:
    """Which quota is used up and when to come back; None if the error speaks of no quota."""
    words = message.lower()
    found = next((quota for quota in QUOTAS if quota.words in words), None)
    if found is None and reason not in REASONS and "quota exceeded" not in words:
        return None
    short = reason in {"rateLimitExceeded", "resourcesExceeded"}
    lasts = found.lasts if found else (10 * _MINUTE if short else _DAY)
    back = (now or datetime.now(UTC)) + lasts
    limit = found.limit if found else "a quota of the project"
    return f"used up: {limit}; come back at {back:%Y-%m-%d %H:%M} UTC at the latest"
