"""What a warehouse promises, whichever database it is."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from polycopy_assets.trades.batch import Manifest


class Loaded(NamedTuple):
    """What loading one batch did to the table: rows put in and rows taken out."""

    inserted: int
    deleted: int


class Parts(Protocol):
    """Where the Parquet files of a batch can be had."""

    def uri(self, name: str) -> str:
        """The file's address."""
        ...

    def local(self, name: str) -> AbstractContextManager[Path]:
        """The file as a local one."""
        ...


class Warehouse(Protocol):
    """The tables `traders` and `trades`. Every method raises WarehouseError when it cannot."""

    uri: str

    def check_writable(self) -> None:
        """Raises WarehouseError if the tables cannot be opened to write."""
        ...

    def add_traders(self, wallets: Iterable[str]) -> int:
        """Adds wallets that `traders` does not hold yet, whatever their case; how many."""
        ...

    def traders(self) -> list[str | None]:
        """`traders.wallet_address`, as it stands there."""
        ...

    def loaded_batches(self) -> set[int]:
        """Numbers of the batches that the table holds, written with their rows, atomically."""
        ...

    def load(self, manifest: Manifest, parts: Parts) -> Loaded:
        """Makes the table hold, inside the batch's claims, exactly the batch's rows.

        One transaction; loading a batch again changes nothing.
        """
        ...

    def count_rows(self) -> int:
        """Rows in `trades`."""
        ...

    def rows_by_wallet(self) -> Mapping[str, int]:
        """Rows in `trades` for each `wallet_address`."""
        ...

    def duplicates(self, limit: int) -> Sequence[tuple[str, str, int]]:
        """(wallet, id, count) for ids that occur more than once, at most `limit` of them."""
        ...
