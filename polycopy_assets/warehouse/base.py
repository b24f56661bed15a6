"""The contract that every warehouse fulfils."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from polycopy_assets.boards.snapshot import Key, Snapshot
from polycopy_assets.feeds.base import Feed
from polycopy_assets.ledger.facts import Checkpoint
from polycopy_assets.warehouse.feed_table import Cost, FeedTable, Parts
from polycopy_assets.warehouse.fills import Compared
from polycopy_assets.warehouse.holdings import Holdings
from polycopy_assets.warehouse.reading import Reader


class BoardTable(Protocol):
    """The table `leaderboard`: who was on a board when. Both methods raise WarehouseError."""

    def held(self) -> set[Key]:
        """The snapshots that the table has rows of; none if there is no table."""
        ...

    def load(self, snapshot: Snapshot) -> None:
        """Makes the table hold, for the snapshot's board and day, exactly its rows.

        Atomic; loading a snapshot again changes nothing. Creates the table if it is missing.
        """
        ...


class DimensionTables(Protocol):
    """The tables `tokens` and `markets`: what the source said of them, and when."""

    def replace(self, name: str, file: str, rows: int, files: Parts) -> None:
        """Makes table `name` hold exactly the `rows` rows of Parquet `file` of the store `files`.

        Atomic; doing it again changes nothing. Creates the table if it is missing. Raises
        WarehouseError.
        """
        ...

    def describe(self) -> None:
        """Makes the views that read them and are missing, where their other tables are there."""
        ...


class Warehouse(Protocol):
    """The tables of all feeds, `traders`, and, where an old job left it, `backfill_checkpoint`.

    Every method raises WarehouseError when it cannot do what it says; a failed read is never an
    empty answer. Reading changes nothing: a missing table is read as an empty one, and created by
    the first method that writes to it.
    """

    uri: str

    def table(self, feed: Feed) -> FeedTable:
        """The table of `feed`, whether it is there yet or not."""
        ...

    @property
    def boards(self) -> BoardTable:
        """The table `leaderboard`."""
        ...

    @property
    def dimensions(self) -> DimensionTables:
        """The tables `tokens` and `markets`."""
        ...

    def unmatched(self, until: Mapping[str, int], limit: int) -> Compared:
        """The trades that only one of the tables `trades` and `activity` has.

        Those of the wallets of `until` before the time (epoch seconds) that it names; at most
        `limit` of each kind are in the answer. None if a table is missing. Where reading costs
        money, as many of the newest months as fit into a small fixed amount.
        """
        ...

    def below_zero(self, left_out: Collection[str], limit: int) -> Holdings:
        """The holdings by `activity` that are below nothing, and how many could not be judged.

        Of all wallets but `left_out`; at most `limit` of them are in the answer. One reading of
        the ledger's rows. Where that costs money, as many of the newest months as fit into a small
        fixed amount.
        """
        ...

    @property
    def cost(self) -> Cost | None:
        """The cost since the warehouse was opened; None if it is free of charge."""
        ...

    @property
    def reader(self) -> Reader:
        """What reads the tables for people."""
        ...

    def check_writable(self, place: tuple[str, str] | None = None) -> None:
        """Raises WarehouseError if the tables cannot be opened for writing.

        Also if they do not fit; see `check_fits`.
        """
        ...

    def check_fits(self, place: tuple[str, str] | None = None) -> None:
        """Raises Unsuitable if the tables cannot hold or show all rows of a store in `place`.

        See `Store.place`. Changes nothing and bills nothing. Passes where that is only known from
        writing: for a file that another process may hold.
        """
        ...

    def describe(self) -> None:
        """Writes comments on tables and columns, and the feeds' views, where they are missing.

        Bills nothing. What other people have written stays; where it is not allowed, that is no
        error. A warehouse may have done it when it was written to.
        """
        ...

    def add_traders(self, wallets: Iterable[str]) -> int:
        """Adds wallets that `traders` does not hold yet, whatever their case; returns how many."""
        ...

    def remove_traders(self, wallets: Collection[str]) -> int:
        """Deletes the rows of `traders` that name `wallets`, whatever their case; returns how many.

        No query if there are no `wallets`, or no such table.
        """
        ...

    def traders(self) -> list[str | None]:
        """All values of `traders.wallet_address`, unchanged."""
        ...

    def traders_state(self) -> str:
        """A name for the state of `traders`, new whenever it may have changed. Costs nothing."""
        ...

    def checkpoint(self) -> list[Checkpoint] | None:
        """All rows of `backfill_checkpoint`; None if there is no such table.

        The columns may have other types: a value that is not a boolean, text or time is None, and a
        count that is not a number is -1, which matches no file.
        """
        ...

    def mark_complete(self, rows: Sequence[Checkpoint]) -> None:
        """Writes `rows` to `backfill_checkpoint`, which must exist.

        All rows of those wallets are changed, whatever the case of the address; for a wallet that
        has none, one is added. Every row must name its wallet.
        """
        ...


def as_text(value: object) -> str | None:
    """A wallet as stored in a table; a value that is not text is shown as its repr."""
    return value if value is None or isinstance(value, str) else repr(value)


def snapshot_values(snapshot: Snapshot) -> dict[str, str | datetime]:
    """The parameters that say which board and which UTC day a snapshot is of, and its time."""
    key = snapshot.key
    day = datetime(key.day.year, key.day.month, key.day.day, tzinfo=UTC)
    return {
        "snapshot_at": datetime.fromtimestamp(snapshot.at, UTC),
        "day": day,
        "next_day": day + timedelta(days=1),
        "time_period": snapshot.window,
        "sort_by": snapshot.by,
        "category": snapshot.category,
    }
