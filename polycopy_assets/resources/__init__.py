"""Source, store and warehouse as resources of Dagster."""
