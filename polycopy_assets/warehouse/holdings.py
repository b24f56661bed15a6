"""Holdings that the rows of the ledger bring below nothing: a sign that rows are missing."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple


class Verdict(StrEnum):
    """What is said of a wallet's holding of a token; the statements write these words."""

    BELOW = "below"
    """Below nothing, and no conversion explains it."""

    HELD = "held"

    CONVERTED = "converted"
    """Below nothing, which a conversion may explain: its row names no tokens."""

    UNKNOWN = "unknown"
    """Below nothing, of a token that `tokens` does not have: rows may be of it that name none."""

    UNTOLD = "untold"
    """Of a wallet's condition: rows that name no token, and could not be told. Or of a token below
    nothing: a row of it does not say how many shares moved."""

    OLDER = "older"
    """Of a market whose first rows may not have been read."""


class Below(NamedTuple):
    """A holding below nothing. `shares` is how much, `day` that of its last row that took shares.

    Without a token, `condition_id` is an event of which conversions took more than there was.
    """

    wallet: str
    condition_id: str | None
    token_id: str | None
    shares: Decimal
    day: date | None


class Holdings(NamedTuple):
    """How many holdings there are of each verdict, and the first of those below nothing.

    `lacks` is a table that is missing; nothing was judged then. `since` is None if all rows were
    read.
    """

    totals: Mapping[Verdict, int] = {}
    first: Sequence[Below] = ()
    since: datetime | None = None
    lacks: str | None = None


def holdings(rows: Iterable[Sequence[Any]], since: datetime | None = None) -> Holdings:
    """From rows of the statement `below_zero`: verdict, all so, wallet, condition, token, ..."""
    totals: dict[Verdict, int] = {}
    first: list[Below] = []
    for why, total, *found in rows:
        verdict = Verdict(why)
        totals[verdict] = int(total)
        if verdict is Verdict.BELOW:
            first.append(Below(*found))
    return Holdings(totals, first, since)
