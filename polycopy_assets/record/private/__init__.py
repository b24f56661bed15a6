"""All code that depends on Dagster's private modules; each file says why."""
