"""What Dagster no longer needs is deleted; the latest record of every wallet stays."""
