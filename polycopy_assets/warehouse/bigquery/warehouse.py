"""A BigQuery dataset as the warehouse: for production."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import add

from google.cloud.bigquery import (
    ArrayQueryParameter,
    ScalarQueryParameter,
)

from polycopy_assets.ledger.facts import Checkpoint, Tally
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.trades.shapes import SHAPES
from polycopy_assets.warehouse.base import Cost, Duplicates, Held, Loaded, Months, Parts, as_text
from polycopy_assets.warehouse.bigquery import checkpoint
from polycopy_assets.warehouse.bigquery.batches_table import BatchesTable
from polycopy_assets.warehouse.bigquery.boards import BigQueryBoards
from polycopy_assets.warehouse.bigquery.change import Batch
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.dimensions import BigQueryDimensions
from polycopy_assets.warehouse.bigquery.job_calls import Parameter
from polycopy_assets.warehouse.bigquery.load import BatchLoad, Loader
from polycopy_assets.warehouse.bigquery.reader import BigQueryReader
from polycopy_assets.warehouse.bigquery.relations import Relations
from polycopy_assets.warehouse.bigquery.windows import all_rows, newest_rows

CHECK_BYTES = 1_000_000_000
"""Bytes that the check for duplicates may read after a load."""

WRITTEN = ("traders", "trades")
"""The tables that every deployment has."""

_NEW_TRADERS = 20_000
_WALLETS = 10_000


class BigQueryWarehouse:
    """The tables in one dataset; see `warehouse.base.Warehouse`.

    `loader` None means that batches are loaded by load jobs.
    """

    worth_loading = 5_000_000  # each load bills its queries anew

    def __init__(self, dataset: Dataset, *, loader: Loader | None = None) -> None:
        self.uri = dataset.uri
        self._dataset = dataset
        self._noted = BatchesTable(dataset)
        self._batches = BatchLoad(dataset, self._noted, loader)
        self._relations = Relations(dataset)

    @property
    def boards(self) -> BigQueryBoards:
        """The table `leaderboard`."""
        return BigQueryBoards(self._dataset)

    @property
    def dimensions(self) -> BigQueryDimensions:
        """The tables `tokens` and `markets`."""
        return BigQueryDimensions(self._dataset)

    @property
    def cost(self) -> Cost:
        """The cost since the warehouse was opened."""
        return self._dataset.jobs.cost

    @property
    def reader(self) -> BigQueryReader:
        """What reads the dataset for people."""
        return BigQueryReader(self._dataset)

    def check_writable(self, place: tuple[str, str] | None = None) -> None:
        """Creates the tables that are missing; raises WarehouseError if they cannot be used.

        Also if they do not fit; nothing is created then.
        """
        self.check_fits(place)
        for name in WRITTEN:
            self._dataset.table(name)
        self.describe()

    def check_fits(self, place: tuple[str, str] | None = None) -> None:
        """Raises Unsuitable if a table or the dataset is not as it must be.

        Also if not all rows can be read, or load jobs cannot read from `place`. Costs nothing.
        """
        if place is not None:
            self._dataset.check_near(place)
        for name in WRITTEN:
            self._dataset.check_table(name)

    def describe(self) -> None:
        """Writes the descriptions and views that are missing; bills nothing."""
        self._relations.describe()

    def add_traders(self, wallets: Iterable[str]) -> int:
        """Adds wallets that `traders` does not hold yet, whatever their case; returns how many."""
        self._dataset.table("traders")
        every = sorted(set(wallets))
        added = 0
        for start in range(0, len(every), _NEW_TRADERS):
            some = ArrayQueryParameter("wallets", "STRING", every[start : start + _NEW_TRADERS])
            added += self._dataset.query("add_traders", [some]).num_dml_affected_rows or 0
        return added

    def remove_traders(self, wallets: Collection[str]) -> int:
        """Deletes the rows of `traders` that name `wallets`, whatever their case; returns how many.

        One statement per 10,000 wallets.
        """
        if not wallets or self._dataset.found("traders") is None:
            return 0
        every, removed = sorted(set(wallets)), 0
        for start in range(0, len(every), _WALLETS):
            some = ArrayQueryParameter("wallets", "STRING", every[start : start + _WALLETS])
            removed += self._dataset.query("remove_traders", [some]).num_dml_affected_rows or 0
        return removed

    def traders(self) -> list[str | None]:
        """All values of `traders.wallet_address`, unchanged; one query, of that column alone."""
        table = self._dataset.found("traders")
        if table is None:
            return []
        self._dataset.check_whole(table)
        return [as_text(row[0]) for row in self._dataset.rows("traders")]

    def traders_state(self) -> str:
        """A name for the state of `traders`, from its metadata; costs nothing."""
        table = self._dataset.found("traders")
        return "none" if table is None else str(table.etag)

    def checkpoint(self) -> list[Checkpoint] | None:
        """All rows of `backfill_checkpoint`; None if there is no such table. One query."""
        return checkpoint.read(self._dataset)

    def mark_complete(self, rows: Sequence[Checkpoint]) -> None:
        """Writes `rows` to `backfill_checkpoint`; one statement per 10,000 wallets."""
        checkpoint.write(self._dataset, rows)

    def held(self) -> Held:
        """The batches that the table holds, and their store, as `polycopy_batches` says.

        No query, unless `trades` seems to have lost rows.
        """
        trades = self._dataset.found("trades")
        notes = self._noted.read(trades)
        if trades is None or self._noted.lost(trades, notes):
            return Held(store=notes.store)
        return Held(
            {number: item.rows for number, item in notes.batches.items()},
            notes.store,
            {number: item.digest for number, item in notes.batches.items() if item.digest},
        )

    def loaded_batches(self) -> set[int]:
        """Numbers of the batches that the table holds, as in `held`."""
        return set(self.held().batches)

    def take_over(self, store: str) -> None:
        """Notes the id of the store in `polycopy_batches`; one query."""
        self._noted.take_over(self._dataset.table("trades"), store)

    def forget_batches(self) -> None:
        """Drops `polycopy_batches`."""
        self._noted.forget()

    def load(
        self, manifest: Manifest, parts: Parts, of: str | None = None, digest: str | None = None
    ) -> Loaded:
        """Stages the batch, replaces what it claims with its rows, and notes it."""
        return self._batches.load(Batch(manifest, of, digest), parts)

    def count_rows(self) -> int:
        """Rows in `trades`; one query, which bills nothing."""
        return 0 if self._dataset.found("trades") is None else self._dataset.count_rows()

    def has_rows(self, number: int) -> bool:
        """Whether `trades` has at least `number` rows; usually without a query."""
        trades = self._dataset.found("trades")
        return number <= 0 if trades is None else self._dataset.has_rows(trades, number)

    def rows_by_wallet(self) -> Mapping[str, int]:
        """Rows in `trades` for each `wallet_address`; one query, of that column alone.

        If it would bill more than the cap, it is several.
        """
        table = self._dataset.found("trades")
        counted: Counter[str] = Counter()
        for row in all_rows(self._dataset, table, "rows_by_wallet") if table else ():
            counted[row[0]] += row[1]
        return counted

    def tally(
        self, claims: Mapping[str, int], *, by_id: bool = False
    ) -> list[tuple[str | None, Tally]]:
        """The rows of `trades`, counted for each `wallet_address`; one query, of three columns.

        With `by_id` of four. If it would bill more than the cap, it is several, and rows of one id
        in different months may then count twice: we load no such rows.
        """
        table = self._dataset.found("trades")
        if table is None:
            return []
        self._dataset.check(table)
        known = {field.name.lower() for field in table.schema}
        source = "T.source" if "source" in known else "NULL"
        what = {"distinct": "DISTINCT", "own": "T.id"} if by_id else {"distinct": "", "own": "1"}
        counted: dict[str | None, Tally] = {}
        for row in all_rows(
            self._dataset, table, "tally", [_packed(claims)], source=source, **what
        ):
            wallet, *counts = row.values()
            before = counted.get(wallet, Tally(0, 0, 0, 0))
            counted[wallet] = Tally(*map(add, before, counts))
        return list(counted.items())

    def delete_mixed_case(self, claims: Mapping[str, int]) -> int:
        """Deletes the rows inside `claims` whose address is not in lower case; returns how many."""
        job = self._dataset.query("delete_mixed_case", [_packed(claims)])
        return job.num_dml_affected_rows or 0

    def loaded_rows(self, wallets: Collection[str]) -> Mapping[str, int]:
        """How many rows of `trades` we loaded for each of `wallets` that has any.

        One query per 10,000 wallets, of two columns; it reads only where those wallets are stored.
        """
        table = self._dataset.found("trades") if wallets else None
        if table is None or "source" not in {field.name.lower() for field in table.schema}:
            return {}
        return {
            row[0]: row[1]
            for whose in _whose(wallets)
            for row in self._dataset.rows("loaded_rows", whose)
        }

    def delete_loaded(self, wallets: Collection[str]) -> int:
        """Deletes what `loaded_rows` counts; returns how many.

        Two queries and one statement per 10,000 wallets.
        """
        # Noted first: if the process ends in between, no rows seem to be lost.
        self._noted.expect_fewer(sum(self.loaded_rows(wallets).values()))
        jobs = (self._dataset.query("delete_loaded", whose) for whose in _whose(wallets))
        return sum(job.num_dml_affected_rows or 0 for job in jobs)

    def duplicates(self, limit: int) -> Duplicates:
        """Ids that occur more than once in as many of the newest months as CHECK_BYTES allows."""
        if self._dataset.found("trades") is None:
            return Duplicates([])
        limited = ScalarQueryParameter("limit", "INT64", limit)
        rows, since = newest_rows(self._dataset, "duplicates", [limited], CHECK_BYTES)
        return Duplicates([(row[0], row[1], row[2]) for row in rows], since)

    def rows_by_month(self) -> Months:
        """Rows in `trades` for each of as many of the newest months as CHECK_BYTES allows."""
        if self._dataset.found("trades") is None:
            return Months({})
        rows, since = newest_rows(self._dataset, "rows_by_month", [], CHECK_BYTES)
        return Months({row[0]: row[1] for row in rows}, since)


def _packed(claims: Mapping[str, int]) -> Parameter:
    """The time until which each wallet's claims reach, as one text: 53 bytes a wallet.

    A request is 10 MB at most, which is 190,000 wallets; 100,000 take 5.3 MB. An array of
    structures would fit only a tenth of them.
    """
    packed = ",".join(f"{wallet}{until:010d}" for wallet, until in claims.items())
    return ScalarQueryParameter("claims", "STRING", packed)


def _whose(wallets: Collection[str]) -> Iterator[list[Parameter]]:
    """Parameters that name wallets, 10,000 at a time, and the sources whose rows are ours."""
    every = sorted(wallets)
    for start in range(0, len(every), _WALLETS):
        yield [
            ArrayQueryParameter("wallets", "STRING", every[start : start + _WALLETS]),
            ArrayQueryParameter("sources", "STRING", sorted(SHAPES)),
        ]
