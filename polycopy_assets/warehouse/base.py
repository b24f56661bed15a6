"""The contract that every warehouse fulfils."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

from polycopy_assets.boards.snapshot import Key, Snapshot
from polycopy_assets.ledger.facts import Checkpoint, Tally
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.warehouse.reading import Reader


class Loaded(NamedTuple):
    """What loading one batch did to the table: rows put in and rows taken out."""

    inserted: int
    deleted: int


class Held(NamedTuple):
    """The batches that the table holds: their numbers, each with its row count if that is kept.

    `store` is the id of the store that they come from; None if unknown. `digests` are the checksums
    of their manifests, where they are kept.
    """

    batches: Mapping[int, int | None] = {}
    store: str | None = None
    digests: Mapping[int, str] = {}


class Duplicates(NamedTuple):
    """(wallet, id, copies) of ids that occur more than once, among trades since `since`.

    `since` is None if the whole table was read.
    """

    found: Sequence[tuple[str, str, int]]
    since: datetime | None = None


class Months(NamedTuple):
    """Rows by month, each named by its first day; `since` as in `Duplicates`."""

    rows: Mapping[date, int]
    since: datetime | None = None


class Cost(NamedTuple):
    """The cost of a warehouse since it was opened: jobs, bytes billed, slot milliseconds."""

    load_jobs: int = 0
    query_jobs: int = 0
    bytes_billed: int = 0
    slot_ms: int = 0


def cost_metadata(cost: Cost | None) -> Mapping[str, int]:
    """The cost as metadata of an event; empty if the warehouse is free of charge."""
    return {} if cost is None else cost._asdict()


class Parts(Protocol):
    """Gives access to Parquet files of a store."""

    def uri(self, name: str) -> str:
        """The file's address."""
        ...

    def local(self, name: str) -> AbstractContextManager[Path]:
        """The file as a local one."""
        ...


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


class Warehouse(Protocol):
    """The tables `traders`, `trades` and, where an old job left it, `backfill_checkpoint`.

    Every method raises WarehouseError when it cannot do what it says; a failed read is never an
    empty answer. Reading changes nothing: a missing table is read as an empty one, and created by
    the first method that writes to it.
    """

    uri: str

    worth_loading: int
    """New rows that make it worth to load a batch while more are fetched."""

    @property
    def boards(self) -> BoardTable:
        """The table `leaderboard`."""
        ...

    @property
    def dimensions(self) -> DimensionTables:
        """The tables `tokens` and `markets`."""
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
        """Raises Unsuitable if the tables cannot hold or show all trades of a store in `place`.

        See `Store.place`. Changes nothing and bills nothing. Passes where that is only known from
        writing: for a file that another process may hold.
        """
        ...

    def describe(self) -> None:
        """Writes comments on tables and columns, and views on `trades`, where they are missing.

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

    def held(self) -> Held:
        """The batches that the table holds, and the store they come from; bills nothing.

        No batches if the table is gone, or empty although they had rows, or has fewer rows than
        they left there, where that is kept: then something else took the rows.
        """
        ...

    def loaded_batches(self) -> set[int]:
        """Numbers of the batches that the table holds, as in `held`."""
        ...

    def take_over(self, store: str) -> None:
        """Marks the batches that the table holds as those of the store with id `store`."""
        ...

    def forget_batches(self) -> None:
        """Marks the table as holding no batch, of no store; its rows stay."""
        ...

    def load(
        self, manifest: Manifest, parts: Parts, of: str | None = None, digest: str | None = None
    ) -> Loaded:
        """Makes the table hold, inside the batch's claims, exactly the batch's rows.

        Atomic; loading a batch again changes nothing. `of` is the id of the batch's store, `digest`
        the checksum of its manifest as the store lists it; raises WrongTable if the table holds
        batches of another store.
        """
        ...

    def count_rows(self) -> int:
        """Rows in `trades`; bills nothing."""
        ...

    def has_rows(self, number: int) -> bool:
        """Whether `trades` has at least `number` rows; usually without a query."""
        ...

    def rows_by_wallet(self) -> Mapping[str, int]:
        """Rows in `trades` for each `wallet_address`."""
        ...

    def rows_by_month(self) -> Months:
        """Rows in `trades` for each month of `timestamp`; bounded like `duplicates`."""
        ...

    def tally(
        self, claims: Mapping[str, int], *, by_id: bool = False
    ) -> list[tuple[str | None, Tally]]:
        """The rows of `trades`, counted for each `wallet_address`; usually one query.

        Addresses that differ only in case are counted together, in lower case. `claims` maps a
        wallet to the time (epoch seconds) until which its claims reach, from the beginning. Two
        rows of ours with one id count once if counting is free of charge, or if `by_id` is set.
        """
        ...

    def delete_mixed_case(self, claims: Mapping[str, int]) -> int:
        """Deletes the rows inside `claims` whose address is not in lower case; returns how many.

        Such rows are not ours: we load claimed rows under the address in lower case.
        """
        ...

    def loaded_rows(self, wallets: Collection[str]) -> Mapping[str, int]:
        """How many rows of `trades` we loaded for each of `wallets` that has any.

        Such rows have one of our sources, and the address in lower case. No query if there are no
        `wallets`.
        """
        ...

    def delete_loaded(self, wallets: Collection[str]) -> int:
        """Deletes the rows that `loaded_rows` counts; returns how many."""
        ...

    def duplicates(self, limit: int) -> Duplicates:
        """Ids that occur more than once, at most `limit` of them.

        Reads the whole table, or, where that costs money, as many of the newest months as fit into
        a small fixed amount.
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
