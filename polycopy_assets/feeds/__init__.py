"""The feeds of a source: what is specific to each, in a folder of its own; pure.

Walk, segments, batches, record and table work the same for every feed; they are given a `Feed`
(`feeds.base`). See `docs/architecture.md`.
"""
