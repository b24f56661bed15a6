"""The assets, one file each, thin: they gather, call the core, and report to Dagster."""

OWNERS = ["team:polycopy"]
