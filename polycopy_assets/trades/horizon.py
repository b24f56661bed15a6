"""The horizon: the time until which the source has certainly served all rows of a feed.

It depends only on the source: its clock, the lag of its feed, and the age of that statement. This
machine's clock is only compared with the source's: if it were two hours ahead, the trades of the
next two hours would count as covered and never be requested.
"""

import msgspec

from polycopy_assets.errors import TransientError

MOST_DIFFERENCE = 300
"""Seconds by which this machine's clock may differ from the source's."""

TOLERANCE = 900
"""Seconds that coverage may exceed a horizon: more than the margins of two sources differ by.

A true horizon never goes back. Coverage beyond that was recorded with a wrong clock or status.
"""

DEFAULT_MAX_LAG = 3600


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says about its source, in seconds.

    `date` is the source's clock (epoch seconds) when it made the answer, `cached` the least time
    since then, `lag` the lag of the feed, `age` how much older than `date` that statement is,
    `margin` an added safety margin.
    """

    date: float | None
    cached: float = 0.0
    lag: float = 0.0
    age: float = 0.0
    margin: float = 0.0


class Horizon(msgspec.Struct, frozen=True, kw_only=True):
    """Everything before `until` (epoch seconds) can be requested, and then counts as covered.

    `at` is the source's clock (epoch seconds), `lag` and `age` are as in `Freshness`, and
    `clock_difference` is how many seconds this machine's clock is ahead of the source's.
    """

    until: int
    at: int
    lag: int = 0
    age: int = 0
    clock_difference: int = 0


def horizon(said: Freshness, feed: str, *, now: float, max_lag: float = DEFAULT_MAX_LAG) -> Horizon:
    """The horizon of `feed` that follows; `now` is this machine's clock, epoch seconds.

    Raises TransientError if there is no reliable horizon: no clock, clocks that differ, or a feed
    that lags by more than `max_lag` seconds.
    """
    if said.date is None:
        raise TransientError("the source's answer has no Date header: its clock is unknown")
    difference = now - (said.date + said.cached)
    check_clocks(difference)
    lag, age = max(said.lag, 0.0), max(said.age, 0.0)
    if lag + age > max_lag:
        raise TransientError(
            f"the source's {feed} may lag by {lag + age:,.0f} s ({lag:,.0f} s as its status"
            f" says, which is {age:,.0f} s old), and POLYCOPY_MAX_LAG allows {max_lag:,.0f} s"
        )
    return Horizon(
        until=max(int(said.date - lag - age - said.margin), 0),
        at=int(said.date),
        lag=round(lag),
        age=round(age),
        clock_difference=round(difference),
    )


def check_clocks(difference: float) -> None:
    """Raises TransientError if this machine's clock is too many seconds ahead, or behind (< 0)."""
    if abs(difference) > MOST_DIFFERENCE:
        side = "ahead of" if difference > 0 else "behind"
        raise TransientError(
            f"the clock of this machine is {abs(difference):,.0f} s {side} the source's, and"
            f" {MOST_DIFFERENCE} s are allowed: set the clock that is wrong"
        )


def beyond(until: int, horizon: int) -> bool:
    """Whether coverage up to `until` exceeds `horizon` by more than can be explained."""
    return until > horizon + TOLERANCE
