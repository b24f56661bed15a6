"""The source's clock, as the headers of its answers tell it."""

import datetime as dt
import email.utils
import re
from collections.abc import Mapping


def date_of(headers: Mapping[str, str]) -> float | None:
    """When the answer was made, epoch seconds; None if there is no `Date` to be read."""
    try:
        at = email.utils.parsedate_to_datetime(headers["Date"])
        # Without a zone it is UTC, wherever this machine stands.
        return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None


def age_of(headers: Mapping[str, str]) -> float:
    """For how many seconds the answer has lain in a cache; 0 if nothing says so."""
    text = headers.get("Age", "").strip()
    return float(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else 0.0
