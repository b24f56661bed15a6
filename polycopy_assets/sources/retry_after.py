"""`Retry-After`, in whatever form it comes."""

import datetime as dt
import email.utils
import re

import httpx

LONGEST_RETRY_AFTER = 120.0
"""Seconds; a longer wait is cut to this."""

_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds that the source asks to wait, at most 120; None if it does not ask, or asks for 0.

    Reads seconds or a date; anything else is ignored. Of several headers the longest wait counts.
    """
    waits = [_seconds(value.strip()) for value in headers.get_list("Retry-After")]
    longest = max(waits, default=0.0)
    return min(longest, LONGEST_RETRY_AFTER) if longest > 0 else None


def _seconds(value: str) -> float:
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        at = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    # Subtracting cannot overflow; converting the zone of a time in the year 9999 can.
    zoned = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return (zoned - dt.datetime.now(dt.UTC)).total_seconds()
