"""The assets, one file each, thin: they gather, call the core, and report to Dagster."""

import warnings

from dagster import BetaWarning

# The command line and its ranges need `BackfillPolicy.single_run()`; a test pins how it behaves.
warnings.filterwarnings("ignore", "Parameter `backfill_policy`", BetaWarning)

OWNERS = ["team:polycopy"]
