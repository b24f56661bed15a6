"""What a warehouse promises, whichever database it is."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from polycopy_assets.ledger.facts import Checkpoint, Tally
from polycopy_assets.trades.batch import Manifest


class Loaded(NamedTuple):
    """What loading one batch did to the table: rows put in and rows taken out."""

    inserted: int
    deleted: int


class Held(NamedTuple):
    """The batches that the table holds: their numbers, each with its rows where that is kept.

    `store` is the id of the store that they are of; None if the table does not tell.
    """

    batches: Mapping[int, int | None] = {}
    store: str | None = None


class Duplicates(NamedTuple):
    """(wallet, id, copies) of ids that occur more than once, among trades since `since`.

    `since` is None where the whole table was looked at.
    """

    found: Sequence[tuple[str, str, int]]
    since: datetime | None = None


class Months(NamedTuple):
    """Rows by month, each named by its first day; `since` as in `Duplicates`."""

    rows: Mapping[date, int]
    since: datetime | None = None


class Cost(NamedTuple):
    """What a warehouse has spent since it was opened: jobs, bytes billed, slot milliseconds."""

    load_jobs: int = 0
    query_jobs: int = 0
    bytes_billed: int = 0
    slot_ms: int = 0


class Parts(Protocol):
    """Where the Parquet files of a batch can be had."""

    def uri(self, name: str) -> str:
        """The file's address."""
        ...

    def local(self, name: str) -> AbstractContextManager[Path]:
        """The file as a local one."""
        ...


class Warehouse(Protocol):
    """The tables `traders`, `trades` and, where an old job left it, `backfill_checkpoint`.

    Every method raises WarehouseError when it cannot do what it says; a failed read is never an
    empty answer. Reading changes nothing: a table that is not there is read as an empty one, and
    made by the first method that writes to it.
    """

    uri: str

    @property
    def cost(self) -> Cost | None:
        """What was spent since the warehouse was opened; None where nothing costs anything."""
        ...

    def check_writable(self) -> None:
        """Raises WarehouseError if the tables cannot be opened to write."""
        ...

    def add_traders(self, wallets: Iterable[str]) -> int:
        """Adds wallets that `traders` does not hold yet, whatever their case; how many."""
        ...

    def traders(self) -> list[str | None]:
        """`traders.wallet_address`, as it stands there."""
        ...

    def traders_state(self) -> str:
        """Names the state of `traders`: another whenever it may have changed. Costs nothing."""
        ...

    def checkpoint(self) -> list[Checkpoint] | None:
        """All rows of `backfill_checkpoint`; None if there is no such table.

        The columns may be of other types: what is no truth, no text or no time is None, and a
        count that is no number is -1, which no file has.
        """
        ...

    def tick_off(self, rows: Sequence[Checkpoint]) -> None:
        """Makes `backfill_checkpoint`, which has to be there, say what `rows` say.

        All rows of those wallets, in any case, are changed; for a wallet that has none, one is
        added. Every row has to name its wallet.
        """
        ...

    def held(self) -> Held:
        """The batches that the table holds, and whose they are; bills nothing.

        No batches if the table is gone, or empty although they had rows: somebody has emptied it.
        """
        ...

    def loaded_batches(self) -> set[int]:
        """Numbers of the batches that the table holds, as in `held`."""
        ...

    def take_over(self, store: str) -> None:
        """Makes the table say that the batches it holds are of the store with id `store`."""
        ...

    def forget_batches(self) -> None:
        """Makes the table say that it holds no batch, of no store; its rows stay."""
        ...

    def load(self, manifest: Manifest, parts: Parts, of: str | None = None) -> Loaded:
        """Makes the table hold, inside the batch's claims, exactly the batch's rows.

        Atomic; loading a batch again changes nothing. `of` is the id of the store that the batch is
        of; raises WrongTable if the table holds batches of another one.
        """
        ...

    def count_rows(self) -> int:
        """Rows in `trades`; bills nothing."""
        ...

    def has_rows(self, number: int) -> bool:
        """Whether `trades` has at least so many rows; as a rule without a query."""
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
        """The rows of `trades`, counted for each `wallet_address`; one query.

        Addresses in several cases are counted together, in lower case. `claims` tells until when
        (epoch seconds) a wallet's claims reach, from the beginning. Two rows of ours with one id
        count once where counting costs nothing; elsewhere only if `by_id` is set.
        """
        ...

    def delete_misspelled(self, claims: Mapping[str, int]) -> int:
        """Deletes the rows inside `claims` whose address is not in lower case; how many.

        Such rows are not ours: what is claimed is loaded under the address in lower case.
        """
        ...

    def loaded_rows(self, wallets: Collection[str]) -> Mapping[str, int]:
        """How many rows of `trades` we loaded for each of `wallets` that has any.

        Rows that carry one of our sources, and the address in lower case. Asks nothing if there are
        no `wallets`.
        """
        ...

    def delete_loaded(self, wallets: Collection[str]) -> int:
        """Deletes those rows; how many."""
        ...

    def duplicates(self, limit: int) -> Duplicates:
        """Ids that occur more than once, at most `limit` of them.

        Looks at the whole table, or, where that costs money, at as many of the newest months as
        fit into a small fixed amount.
        """
        ...


def as_text(value: object) -> str | None:
    """A wallet as it stands in a table; what is no text is named as what it is."""
    return value if value is None or isinstance(value, str) else repr(value)
