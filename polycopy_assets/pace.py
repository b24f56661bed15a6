"""When to fetch, to load and to check: decided from how things stand, not from what has changed.

Pure: a situation in, a decision out. Nothing is remembered between two decisions but what Dagster
has recorded, so a tick that is missed, or comes twice, does no harm.
"""

from collections.abc import Sequence

import msgspec

MINUTE, HOUR = 60.0, 3_600.0

FRUITLESS_WAITS = (MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR)
"""Seconds to wait after a fetch that came to nothing; the last for as long as they do."""

LOAD_WAITS = (MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 8 * HOUR, 24 * HOUR)
"""Seconds from a load that failed to the next; after as many it waits for a person."""

LOAD_EVERY = 15 * MINUTE
"""Seconds between loads while a fetch goes on."""

TOLD_EVERY = 12 * HOUR
"""Seconds after which a table that needs nothing is materialized all the same: it is up to date."""

CHECK_EVERY = HOUR
"""Seconds between runs of the checks when nothing happens."""


class Act(msgspec.Struct, frozen=True):
    """Act now; why, for people."""

    why: str


class Wait(msgspec.Struct, frozen=True):
    """Do not act now; why, for people."""

    why: str


Decision = Act | Wait


class FetchSituation(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch depends on: how many wallets are due, wait, or have failed for good.

    `under_way` is the run that fetches; `fruitless` when the latest fetches came to nothing: the
    source was down, or the run could not do its work; epoch seconds, newest first, up to the
    first that did.
    """

    due: int
    waiting: int
    given_up: int
    under_way: str | None
    fruitless: Sequence[float] = ()


def fetch(situation: FetchSituation, now: float) -> Decision:
    """Whether to start a fetch."""
    if not situation.due:
        waiting = f"; {situation.waiting} failed and wait for their next attempt"
        given_up = f"; {situation.given_up} failed and are not tried again of themselves"
        return Wait(
            "nothing to fetch"
            + (waiting if situation.waiting else "")
            + (given_up if situation.given_up else "")
        )
    if situation.under_way:
        return Wait(f"run {situation.under_way} is fetching, or about to")
    if situation.fruitless:
        wait = _nth(FRUITLESS_WAITS, len(situation.fruitless))
        left = situation.fruitless[0] + wait - now
        if left > 0:
            return Wait(
                f"the last {len(situation.fruitless)} fetches came to nothing (their runs say why);"
                f" next try in {left:.0f} s",
            )
    return Act(f"{situation.due} wallets to fetch")


class LoadSituation(msgspec.Struct, frozen=True, kw_only=True):
    """What a load depends on: whether the table has what the record has, and what is under way.

    `since` is when the last load ended, or the fetch under way started; `fetched` when a wallet was
    recorded last, and `told` when the table was materialized last; `failures` when the latest loads
    failed: epoch seconds, newest first, up to the first that did not.
    """

    loaded: bool
    under_way: str | None
    fetching: bool
    since: float
    fetched: float = 0.0
    told: float = 0.0
    failures: Sequence[float] = ()


def load(situation: LoadSituation, now: float) -> Decision:
    """Whether to start a load. Wallets that fail hold nobody's table back.

    Fetches that find nothing new leave nothing to load. Now and then the table is materialized all
    the same, or its freshness policy would call it stale.
    """
    unsaid = situation.fetched > situation.told and now - situation.told >= TOLD_EVERY
    if situation.loaded and not unsaid:
        return Wait("the table has what the record has")
    if situation.under_way:
        return Wait(f"run {situation.under_way} is loading, or about to")
    failed = len(situation.failures)
    if failed > len(LOAD_WAITS):
        return Wait(
            f"loading failed {failed} times in a row: mend the cause, then launch the job `load`",
        )
    if failed and (left := situation.failures[0] + LOAD_WAITS[failed - 1] - now) > 0:
        return Wait(f"loading failed {failed} times in a row; next try in {left:.0f} s")
    if situation.fetching and (left := situation.since + LOAD_EVERY - now) > 0:
        return Wait(f"a fetch is under way; next load when it ends, or in {left:.0f} s")
    return Act(
        "nothing new was fetched: the table is still up to date"
        if situation.loaded
        else "the record has more than the table"
    )


def check(
    last: float | None, work_ended: float | None, under_way: str | None, now: float
) -> Decision:
    """Whether to run the checks: after work that ended behind the `last` one, and now and then."""
    if under_way:
        return Wait(f"run {under_way} is checking, or about to")
    if last is None or now - last >= CHECK_EVERY:
        return Act("the checks are due")
    if work_ended is not None and work_ended > last:
        return Act("a fetch or a load has ended")
    return Wait(f"checked {now - last:.0f} s ago")


def _nth(waits: Sequence[float], count: int) -> float:
    return waits[min(count, len(waits)) - 1]
