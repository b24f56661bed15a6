"""The record: what Dagster knows about wallets and runs."""
