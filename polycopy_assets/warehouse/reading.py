"""Reading the tables for people: queries of theirs, and rows of a feed as a file."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from polycopy_assets.feeds.base import Feed

Form = Literal["csv", "parquet"]
"""What a file of rows may be."""


class Selection(NamedTuple):
    """Rows to export: those of `wallets` (all, if empty), from `since` on (all, if None)."""

    wallets: Sequence[str] = ()
    since: datetime | None = None


class Answer(Protocol):
    """What a query gives: the names of its columns, and its rows, which can be read once."""

    names: Sequence[str]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, some at a time."""
        ...

    def write_parquet(self, path: Path) -> None:
        """Writes the rows to a file."""
        ...


class Reader(Protocol):
    """Reads the tables and changes nothing. Every method raises WarehouseError if it cannot.

    A statement is refused, with QueryRefused, unless it is one SELECT.
    """

    def estimate(self, sql: str) -> int | None:
        """Bytes that a query would process; None if reading is free of charge. Runs nothing."""
        ...

    def ask(self, sql: str) -> AbstractContextManager[Answer]:
        """Runs a query to its end; its answer can be read inside the context."""
        ...

    def export(self, feed: Feed, chosen: Selection, form: Form, path: Path) -> int:
        """Writes rows of a feed to a file, in bounded memory; returns how many.

        Columns are those of its frame, null where a table lacks one. In CSV a time is written as
        `2024-05-06T07:08:09Z`, and null as nothing.
        """
        ...
