"""A table that somebody else holds is tried once more, at the end of the run."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from polycopy_assets.errors import WarehouseBusy

PAUSE_SECONDS = 15.0
TRIES_AGAIN = 1


@contextmanager
def tried_again_if_busy(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Makes Dagster run the step again, after the others, if another process has the DuckDB file.

    Each time it is waited for as long as the warehouse waits; the second time the step fails.
    """
    try:
        yield
    except WarehouseBusy as error:
        if context.retry_number < TRIES_AGAIN:
            context.log.warning(f"{error}. It is tried again in {PAUSE_SECONDS:.0f} s")
        raise dg.RetryRequested(max_retries=TRIES_AGAIN, seconds_to_wait=PAUSE_SECONDS) from error
