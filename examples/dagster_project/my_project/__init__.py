"""A Dagster project that has the trades of some Polymarket wallets beside its own assets."""
