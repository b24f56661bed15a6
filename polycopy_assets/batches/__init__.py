"""Batches: what is new combined into Parquet, and loaded into the table."""
