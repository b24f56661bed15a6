"""Compares the ledgers. Pure: facts in, findings out; knows no Dagster, no cloud, no database."""
