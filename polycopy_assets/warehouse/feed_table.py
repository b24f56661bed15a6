"""The contract of the table of a feed in a warehouse: what is loaded there, and what is in it."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from polycopy_assets.feeds.base import Feed
from polycopy_assets.ledger.facts import Tally
from polycopy_assets.trades.batch import Manifest


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
    """(wallet, id, copies) of ids that occur more than once, among rows since `since`.

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


class FeedTable(Protocol):
    """The table of one feed, and the table beside it that says which batches it holds.

    No other feed has them, so no feed sees the rows or batches of another. Every method raises
    WarehouseError when it cannot do what it says; a failed read is never an empty answer. Reading
    changes nothing: a missing table is read as an empty one, and created by the first method that
    writes to it.
    """

    feed: Feed

    uri: str
    """The warehouse's."""

    worth_loading: int
    """New rows that make it worth to load a batch while more are fetched."""

    @property
    def cost(self) -> Cost | None:
        """The cost since the warehouse was opened; None if it is free of charge."""
        ...

    def describe(self) -> None:
        """Does for this table what `Warehouse.describe` does for all."""
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
        """Rows of the table; bills nothing."""
        ...

    def has_rows(self, number: int) -> bool:
        """Whether the table has at least `number` rows; usually without a query."""
        ...

    def rows_by_wallet(self) -> Mapping[str, int]:
        """Rows of the table for each `wallet_address`."""
        ...

    def conditions(self) -> set[str]:
        """Every `condition_id` of the table; reads that column of all rows."""
        ...

    def rows_by_month(self) -> Months:
        """Rows of the table for each month of `timestamp`; bounded like `duplicates`."""
        ...

    def tally(
        self, claims: Mapping[str, int], *, by_id: bool = False
    ) -> list[tuple[str | None, Tally]]:
        """The rows of the table, counted for each `wallet_address`; usually one query.

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
        """How many rows of the table we loaded for each of `wallets` that has any.

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
