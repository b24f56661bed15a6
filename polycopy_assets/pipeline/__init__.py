"""Fetch, count, combine and load: the engine that assets and commands share."""
