"""When to fetch, to load and to check: decided from the current state, not from changes.

Pure: a situation in, a decision out. The only memory between two decisions is Dagster's record, so
a missed or repeated tick does no harm.
"""

from collections.abc import Sequence

import msgspec

from polycopy_assets.text import counted

MINUTE, HOUR = 60.0, 3_600.0

EMPTY_RUN_WAITS = (MINUTE, 5 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR)
"""Seconds to wait after the first, second, … empty run in a row; the last value repeats."""

LOAD_WAITS = (MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 8 * HOUR, 24 * HOUR)
"""Seconds from each failed load in a row to the next; after the last it waits for a person."""

LOAD_EVERY = 15 * MINUTE
"""Seconds between loads while a fetch goes on."""

MATERIALIZE_EVERY = 12 * HOUR
"""Seconds after which the table is materialized even if it is up to date."""

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

    `under_way` is the run that fetches. `empty_runs` are the times of the latest runs that fetched
    nothing, because the source was down or the run could not work: epoch seconds, newest first,
    back to the last run that worked.
    """

    due: int
    waiting: int
    exhausted: int
    under_way: str | None
    empty_runs: Sequence[float] = ()


def fetch(situation: FetchSituation, now: float) -> Decision:
    """Whether to start a fetch."""
    if not situation.due:
        waiting = f"; {situation.waiting} failed and wait for their next attempt"
        exhausted = f"; {situation.exhausted} failed and are not tried again automatically"
        return Wait(
            "nothing to fetch"
            + (waiting if situation.waiting else "")
            + (exhausted if situation.exhausted else "")
        )
    if situation.under_way:
        return Wait(f"run {situation.under_way} is fetching, or about to")
    if situation.empty_runs:
        wait = _nth(EMPTY_RUN_WAITS, len(situation.empty_runs))
        left = situation.empty_runs[0] + wait - now
        if left > 0:
            many = len(situation.empty_runs)
            runs = "run" if many == 1 else counted(many, "run")
            return Wait(
                f"the last {runs} fetched nothing (each run's page says why);"
                f" next try in {left:.0f} s",
            )
    return Act(f"{counted(situation.due, 'wallet')} to fetch")


class LoadSituation(msgspec.Struct, frozen=True, kw_only=True):
    """What a load depends on: whether the table has everything recorded, and what is under way.

    `since` is when the last load ended, or the fetch under way started; `fetched` when a wallet was
    last recorded; `last_materialized` when the table was last materialized; `failures` when the
    latest loads failed: epoch seconds, newest first, back to the last success. `refreshes` says
    whether the schedule `daily_refresh` is on. `job` is the job that loads, `rows` what it loads,
    for people.
    """

    loaded: bool
    under_way: str | None
    fetching: bool
    since: float
    fetched: float = 0.0
    last_materialized: float = 0.0
    failures: Sequence[float] = ()
    refreshes: bool = True
    job: str = "load"
    rows: str = "trades"


def load(situation: LoadSituation, now: float) -> Decision:
    """Whether to start a load. Failed wallets do not hold the others back.

    Fetches that find nothing new leave nothing to load. The table is still materialized now and
    then; otherwise its freshness policy would call it stale. So it is if nobody has asked for a
    daily refresh: then a table that holds all that is recorded is as fresh as it is meant to be.
    """
    fetched = situation.fetched > situation.last_materialized
    idle = not situation.refreshes and situation.last_materialized > 0
    unsaid = (fetched or idle) and now - situation.last_materialized >= MATERIALIZE_EVERY
    if situation.loaded and not unsaid:
        return Wait("the table has everything that is recorded")
    if situation.under_way:
        return Wait(f"run {situation.under_way} is loading, or about to")
    failed = len(situation.failures)
    if failed > len(LOAD_WAITS):
        return Wait(
            f"loading failed {counted(failed, 'time')} in a row: repair the cause, then launch"
            f" the job `{situation.job}`",
        )
    if failed and (left := situation.failures[0] + LOAD_WAITS[failed - 1] - now) > 0:
        return Wait(f"loading failed {counted(failed, 'time')} in a row; next try in {left:.0f} s")
    if situation.fetching and (left := situation.since + LOAD_EVERY - now) > 0:
        return Wait(f"a fetch is under way; next load when it ends, or in {left:.0f} s")
    return Act(
        "nothing new was fetched: the table is still up to date"
        if situation.loaded
        else f"the record has {situation.rows} that the table lacks"
    )


def check(
    last: float | None, work_ended: float | None, under_way: str | None, now: float
) -> Decision:
    """Whether to run the checks: after work that ended since the `last` run, and now and then."""
    if under_way:
        return Wait(f"run {under_way} is checking, or about to")
    if last is None or now - last >= CHECK_EVERY:
        return Act("the checks are due")
    if work_ended is not None and work_ended > last:
        return Act("a fetch or a load has ended")
    return Wait(f"checked {now - last:.0f} s ago")


def _nth(waits: Sequence[float], count: int) -> float:
    return waits[min(count, len(waits)) - 1]
