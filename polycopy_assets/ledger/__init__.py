"""The ledgers compared, purely: facts in, findings out. Knows no Dagster, no cloud, no database."""
