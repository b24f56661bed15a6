"""Dagster's beta features that the assets need. Hides their warnings, and no others.

Ranges on the command line need `BackfillPolicy.single_run()`, and only
`multi_observable_source_asset` makes an observable asset with owners and kinds. Tests pin the
behaviour of both.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

Decorator = Callable[[Callable[..., Any]], dg.AssetsDefinition]


def single_run_asset(**options: Any) -> Decorator:
    """`dg.asset` with `options`; one run materializes any range of its partitions."""
    with _known():
        return dg.asset(backfill_policy=dg.BackfillPolicy.single_run(), **options)


def observed_tables(*, name: str, specs: Sequence[dg.AssetSpec]) -> Decorator:
    """An observable asset for tables that others write."""
    with _known():
        return dg.multi_observable_source_asset(name=name, specs=specs)


@contextmanager
def _known() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield
