"""The horizon: until when a source can be believed to have served everything.

Only what the source says decides: its clock, how far its feed trails, and how old that statement
is. The clock of this machine is compared with the source's, and used for nothing else: two hours
ahead, and the trades of the next two hours would count as covered and never be asked for.
"""

import msgspec

from polycopy_assets.errors import TransientError

MOST_DIFFERENCE = 300
"""Seconds by which this machine's clock may differ from the source's."""

TOLERANCE = 900
"""Seconds that coverage may lie beyond a horizon: more than the margins of two sources differ by.

A true horizon never goes back. Coverage that reaches further was recorded on a clock, or on a
status, that was wrong.
"""

DEFAULT_MAX_LAG = 3600


class Freshness(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says of its source, in seconds.

    `date` is the source's clock (epoch seconds) when it made the answer, `cached` how long ago that
    was at least, `lag` how far the trade feed trails, `age` how much older than `date` that
    statement is, `margin` what is kept away from on top.
    """

    date: float | None
    cached: float = 0.0
    lag: float = 0.0
    age: float = 0.0
    margin: float = 0.0


class Horizon(msgspec.Struct, frozen=True, kw_only=True):
    """Everything before `until` can be asked for, and counts as covered then; epoch seconds.

    `at` is the source's clock (epoch seconds), `lag` and `age` are as in `Freshness`, and
    `clock_difference` is how many seconds this machine's clock is ahead of the source's.
    """

    until: int
    at: int
    lag: int = 0
    age: int = 0
    clock_difference: int = 0


def horizon(said: Freshness, *, now: float, max_lag: float = DEFAULT_MAX_LAG) -> Horizon:
    """The horizon that follows; `now` is this machine's clock, epoch seconds.

    Raises TransientError if there is none to rely on: no clock, clocks that differ, a feed that
    trails by more than `max_lag` seconds.
    """
    if said.date is None:
        raise TransientError("the source's answer has no Date header: its clock cannot be told")
    difference = now - (said.date + said.cached)
    if abs(difference) > MOST_DIFFERENCE:
        side = "ahead of" if difference > 0 else "behind"
        raise TransientError(
            f"the clock of this machine is {abs(difference):,.0f} s {side} the source's, and"
            f" {MOST_DIFFERENCE} s are allowed: set the clock that is wrong"
        )
    lag, age = max(said.lag, 0.0), max(said.age, 0.0)
    if lag + age > max_lag:
        raise TransientError(
            f"the source's trade feed may trail by {lag + age:,.0f} s ({lag:,.0f} s as its status"
            f" says, which is {age:,.0f} s old), and POLYCOPY_MAX_LAG allows {max_lag:,.0f} s"
        )
    return Horizon(
        until=max(int(said.date - lag - age - said.margin), 0),
        at=int(said.date),
        lag=round(lag),
        age=round(age),
        clock_difference=round(difference),
    )


def beyond(until: int, horizon: int) -> bool:
    """Whether coverage up to `until` reaches further than `horizon` can explain."""
    return until > horizon + TOLERANCE
