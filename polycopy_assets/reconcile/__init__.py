"""Reconciliation: reads the four ledgers, compares them, and makes them agree."""
