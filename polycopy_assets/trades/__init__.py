"""The pure core: wallets, intervals, segments, the walk, the frame, the batch.

Nothing here knows Dagster, a cloud, HTTP or a database; see `docs/architecture.md`.
"""
