"""Google's quotas: which quota an error is about, and when to try again.

Sources: Google's pages on quotas of BigQuery and on request rates of Cloud Storage.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_RATES = frozenset({"rateLimitExceeded", "jobRateLimitExceeded", "resourcesExceeded"})
REASONS = frozenset({"quotaExceeded", *_RATES})


class Quota(NamedTuple):
    """A quota: words in Google's message, what it limits, and how long until it frees up."""

    words: str
    limit: str
    lasts: timedelta


_DAY, _MINUTE = timedelta(days=1), timedelta(minutes=1)
QUOTAS = (
    Quota("imports or query appends per table", "1,500 load jobs per table per day", _DAY),
    Quota("imports per project", "100,000 load jobs per project per day", _DAY),
    Quota("load jobs per", "100,000 load jobs per project per day", _DAY),
    Quota("dml statements outstanding", "20 waiting MERGE statements per table", 10 * _MINUTE),
    Quota("dml jobs writing to a table", "20 waiting MERGE statements per table", 10 * _MINUTE),
    Quota("table update operations", "5 changes of a table's metadata in 10 s", _MINUTE),
    Quota("query usage per day", "the project's own cap on bytes queried per day", _DAY),
    Quota("quotaforbytesbilled", "the project's own cap on bytes queried per day", _DAY),
    Quota("concurrent queries", "concurrent queries of the project", 10 * _MINUTE),
    Quota("object mutation operations", "one write per second to an object", _MINUTE),
    Quota("api requests per", "API requests per user per second", _MINUTE),
)


def explain(reason: str, message: str, now: datetime | None = None) -> str | None:
    """Which quota is used up and when to try again; None if the error is not about a quota."""
    words = message.lower()
    found = next((quota for quota in QUOTAS if quota.words in words), None)
    if found is None and reason not in REASONS and "quota exceeded" not in words:
        return None
    short = reason in _RATES
    lasts = found.lasts if found else (10 * _MINUTE if short else _DAY)
    back = (now or datetime.now(UTC)) + lasts
    limit = found.limit if found else "a quota of the project"
    return f"used up: {limit}; try again after {back:%Y-%m-%d %H:%M} UTC"
