"""Dagster's beta features that the assets need. Hides their warnings, and no others.

Ranges on the command line need `BackfillPolicy.single_run()`, only
`multi_observable_source_asset` makes an observable asset with owners and kinds, and code references
are what opens an asset's code from its page. Tests pin the behaviour of all.
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


def with_code_references(assets: Sequence[dg.AssetsDefinition]) -> Sequence[dg.AssetsDefinition]:
    """`assets`, each with the file and line of its function. It reads them: 15 ms for all."""
    with _known():
        found = dg.with_source_code_references(assets)
    return [each for each in found if isinstance(each, dg.AssetsDefinition)]


@contextmanager
def _known() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        yield
