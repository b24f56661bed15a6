"""The assets, one file each, thin: they gather, call the core, and report to Dagster."""

OWNERS = ["team:polycopy"]

TAGS = {"polycopy": ""}
"""Chooses all of our assets in an instance that others use as well: `tag:polycopy`."""
