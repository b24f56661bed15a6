"""Reconciliation: the four ledgers read, compared, and brought to agree."""
