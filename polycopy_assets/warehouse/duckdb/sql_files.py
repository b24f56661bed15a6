"""The statements for DuckDB, and the paths of files that they read."""

import glob
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from polycopy_assets.feeds.base import Feed
from polycopy_assets.warehouse.duckdb.column_texts import additions, chosen, definitions


def sql(name: str, feed: Feed | None = None, **places: str) -> str:
    """Statement `name`; one on the table of a feed with the names of that feed filled in.

    They are constants of ours. `places` are what else is filled in.
    """
    text = _text(name)
    return text if feed is None else text.format_map(_Places(feed, places))


def only(path: Path) -> str:
    """A parameter of `read_parquet` that means this file alone.

    DuckDB takes a path for a pattern. A directory may be called `a*b` and lie beside `ab`.
    """
    return glob.escape(str(path))


_OF_FEED: Mapping[str, Callable[[Feed], str]] = {
    "table": lambda feed: feed.table,
    "batches": lambda feed: feed.batches,
    "rows": lambda feed: feed.rows,
    "Rows": lambda feed: feed.rows.capitalize(),
    "definitions": definitions,
    "additions": additions,
    "chosen": chosen,
}


class _Places(dict[str, str]):
    """What is filled in; what needs the types of columns is made only where it stands."""

    def __init__(self, feed: Feed, places: Mapping[str, str]) -> None:
        super().__init__(places)
        self._feed = feed

    def __missing__(self, place: str) -> str:
        return _OF_FEED[place](self._feed)


@cache
def _text(name: str) -> str:
    package = resources.files("polycopy_assets.warehouse") / "sql" / "duckdb"
    return (package / f"{name}.sql").read_text()
