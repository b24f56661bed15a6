"""Metadata that is there only if there is something to see."""

from collections.abc import Mapping, Sequence

import dagster as dg

from polycopy_assets.feeds.base import Feed


def shown(
    name: str, value: dg.TableMetadataValue | Mapping[str, object] | Sequence[object]
) -> dict[str, dg.MetadataValue]:
    """`value`, a table or what becomes JSON, as metadata under `name`; nothing if it is empty.

    An empty table or `[]` beside a check that passes only makes people look for what is wrong.
    """
    if isinstance(value, dg.TableMetadataValue):
        return {name: value} if value.records else {}
    if not value:
        return {}
    plain = dict(value) if isinstance(value, Mapping) else list(value)
    return {name: dg.MetadataValue.json(plain)}


def of_feed(feed: Feed, text: str) -> str:
    """What a check of `feed` says of itself, if it is a check of what all feeds share."""
    return text if feed.bare else f"Of {feed.rows}: {text[0].lower()}{text[1:]}"
