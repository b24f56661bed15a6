"""The assets, one file each, thin: they gather, call the core, and report to Dagster."""

import warnings

from dagster import BetaWarning

# The command line and its ranges need `BackfillPolicy.single_run()`, and only this decorator makes
# an observable asset with owners and kinds; tests pin how both behave.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", BetaWarning)
warnings.filterwarnings("ignore", "Function `multi_observable_source_asset`", BetaWarning)

OWNERS = ["team:polycopy"]
