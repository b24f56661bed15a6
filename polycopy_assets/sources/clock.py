"""The source's clock, by the headers of its answers."""

import datetime as dt
import email.utils
import re
from collections.abc import Mapping


def date_of(headers: Mapping[str, str]) -> float | None:
    """When the answer was made, epoch seconds; None if there is no readable `Date`."""
    try:
        at = email.utils.parsedate_to_datetime(headers["Date"])
        # Without a zone it is UTC, whatever the zone of this machine.
        return (at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None


def age_of(headers: Mapping[str, str]) -> float:
    """How many seconds the answer has been in a cache; 0 if no header says so."""
    text = headers.get("Age", "").strip()
    return float(text) if re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) else 0.0
