"""A check that cannot be computed fails, and says why; its run goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

from polycopy_assets.errors import PolycopyError, Stopped
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.heartbeat import heartbeat

NAMED = 20


class Outcome:
    """Holds a check's result; a failure until it is set. `check` raises if the run must stop."""

    def __init__(self, check: Callable[[], None]) -> None:
        self.check = check
        self.result = dg.AssetCheckResult(passed=False, description="it was not computed")


def or_failed(
    check_name: str, asset_key: dg.AssetKey, compute: Callable[[], dg.AssetCheckResult]
) -> dg.AssetCheckResult:
    """A check's result, even if it cannot be computed."""
    try:
        return compute()
    except PolycopyError as error:
        return _not_computed(error, check_name, asset_key)


def _not_computed(
    error: PolycopyError, check_name: str | None = None, asset_key: dg.AssetKey | None = None
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=check_name,
        asset_key=asset_key,
        passed=False,
        description=f"it cannot be computed: {error}",
        metadata={"what_to_do": "remove the cause, then execute the check again"},
    )


@contextmanager
def computed(
    context: dg.AssetCheckExecutionContext, progress: Progress | None = None
) -> Iterator[Outcome]:
    """Lets a check compute its `result` while the run's heartbeat goes on; `progress` names it."""
    if progress is not None:
        progress.begin(f"checking: {next(iter(context.selected_asset_check_keys)).name}")
    with heartbeat(context, progress) as pulse:
        outcome = Outcome(pulse.check)
        try:
            yield outcome
        except Stopped as error:
            raise dg.DagsterExecutionInterruptedError(str(error)) from error
        except PolycopyError as error:
            context.log.warning(str(error))
            outcome.result = _not_computed(error)
