"""A check that cannot be computed fails, and says why; its run goes on."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from polycopy_assets.errors import PolycopyError
from polycopy_assets.liveness import alive

NAMED = 20


class Outcome:
    """Holds what a check came to; a failure until it is told otherwise."""

    def __init__(self) -> None:
        self.result = dg.AssetCheckResult(passed=False, description="it was not computed")


@contextmanager
def computed(context: dg.AssetCheckExecutionContext) -> Iterator[Outcome]:
    """Lets a check compute its `result` while the run says that it lives."""
    outcome = Outcome()
    with alive(context):
        try:
            yield outcome
        except PolycopyError as error:
            context.log.warning(str(error))
            outcome.result = dg.AssetCheckResult(
                passed=False,
                description=f"it cannot be computed: {error}",
                metadata={"what_to_do": "mend the cause, then execute the check again"},
            )
