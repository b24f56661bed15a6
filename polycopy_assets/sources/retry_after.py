"""`Retry-After`, whatever it says."""

import datetime as dt
import email.utils
import re

import httpx

LONGEST_RETRY_AFTER = 120.0
"""Seconds; a source that asks for more is treated as asking for this."""

_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?")


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds to wait as the source asked, at most 120; None if it did not, or asked for none.

    Seconds or a date. Of several headers the longest wait counts; what is neither counts nothing.
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
    # The difference of two times knows no last year; a change of zone in the year 9999 does.
    zoned = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
    return (zoned - dt.datetime.now(dt.UTC)).total_seconds()
