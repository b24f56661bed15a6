"""The table of a feed in a BigQuery dataset, and the table beside it that names its batches."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from operator import add

from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from polycopy_assets.feeds.base import Feed
from polycopy_assets.ledger.facts import Tally
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.warehouse.bigquery.batches_table import BatchesTable
from polycopy_assets.warehouse.bigquery.change import Batch
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.feed_dataset import FeedDataset
from polycopy_assets.warehouse.bigquery.job_calls import Parameter
from polycopy_assets.warehouse.bigquery.load import BatchLoad, Loader
from polycopy_assets.warehouse.bigquery.relations import Relations
from polycopy_assets.warehouse.bigquery.windows import all_rows, newest_rows
from polycopy_assets.warehouse.feed_table import Cost, Duplicates, Held, Loaded, Months, Parts

CHECK_BYTES = 1_000_000_000
"""Bytes that the check for duplicates may read after a load."""

_WALLETS = 10_000


class BigQueryTable:
    """The table of `feed`; see `warehouse.feed_table.FeedTable`.

    `loader` None means that batches are loaded by load jobs.
    """

    worth_loading = 5_000_000  # each load bills its queries anew

    def __init__(self, dataset: Dataset, feed: Feed, *, loader: Loader | None = None) -> None:
        self.feed = feed
        self.uri = dataset.uri
        self._of = FeedDataset(dataset, feed)
        self._noted = BatchesTable(self._of)
        self._batches = BatchLoad(self._of, self._noted, loader)
        self._relations = Relations(dataset, feed)

    @property
    def cost(self) -> Cost:
        """The cost since the warehouse was opened."""
        return self._of.jobs.cost

    def make(self) -> None:
        """Creates the table if it is missing; raises WarehouseError if it cannot be used."""
        self._of.table()

    def check_fits(self) -> None:
        """Raises Unsuitable if the table, or that of its batches, is not as it must be.

        Costs nothing.
        """
        self._of.check_fits()
        self._noted.check_fits()

    def describe(self) -> None:
        """Writes the descriptions and views that are missing; bills nothing."""
        self._relations.describe()

    def held(self) -> Held:
        """The batches that the table holds, and their store, as the table of batches says.

        No query, unless it seems to have lost rows.
        """
        table = self._of.found()
        notes = self._noted.read(table)
        if table is None or self._noted.lost(table, notes):
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
        """Notes the id of the store; one query."""
        self._noted.take_over(self._of.table(), store)

    def forget_batches(self) -> None:
        """Drops the table of batches."""
        self._noted.forget()

    def load(
        self, manifest: Manifest, parts: Parts, of: str | None = None, digest: str | None = None
    ) -> Loaded:
        """Stages the batch, replaces what it claims with its rows, and notes it."""
        return self._batches.load(Batch(manifest, of, digest), parts)

    def count_rows(self) -> int:
        """Rows in the table; one query, which bills nothing."""
        table = self._of.found()
        return 0 if table is None else self._of.dataset.count_rows(table)

    def has_rows(self, number: int) -> bool:
        """Whether the table has at least `number` rows; usually without a query."""
        table = self._of.found()
        return number <= 0 if table is None else self._of.dataset.has_rows(table, number)

    def rows_by_wallet(self) -> Mapping[str, int]:
        """Rows in the table for each `wallet_address`; one query, of that column alone.

        If it would bill more than the cap, it is several.
        """
        table = self._of.found()
        counted: Counter[str] = Counter()
        for row in all_rows(self._of, table, "rows_by_wallet") if table else ():
            counted[row[0]] += row[1]
        return counted

    def conditions(self) -> set[str]:
        """Every `condition_id` of the table; one query, of that column alone.

        If it would bill more than the cap, it is several.
        """
        table = self._of.found()
        found = all_rows(self._of, table, "conditions") if table else ()
        return {row[0] for row in found if row[0] is not None}

    def tally(
        self, claims: Mapping[str, int], *, by_id: bool = False
    ) -> list[tuple[str | None, Tally]]:
        """The rows of the table, counted for each `wallet_address`; one query, of three columns.

        With `by_id` of four. If it would bill more than the cap, it is several, and rows of one id
        in different months may then count twice: we load no such rows.
        """
        table = self._of.found()
        if table is None:
            return []
        self._of.check(table)
        known = {field.name.lower() for field in table.schema}
        source = "T.source" if "source" in known else "NULL"
        what = {"distinct": "DISTINCT", "own": "T.id"} if by_id else {"distinct": "", "own": "1"}
        counted: dict[str | None, Tally] = {}
        for row in all_rows(self._of, table, "tally", [packed(claims)], source=source, **what):
            wallet, *counts = row.values()
            before = counted.get(wallet, Tally(0, 0, 0, 0))
            counted[wallet] = Tally(*map(add, before, counts))
        return list(counted.items())

    def delete_mixed_case(self, claims: Mapping[str, int]) -> int:
        """Deletes the rows inside `claims` whose address is not in lower case; returns how many."""
        job = self._of.query("delete_mixed_case", [packed(claims)])
        return job.num_dml_affected_rows or 0

    def loaded_rows(self, wallets: Collection[str]) -> Mapping[str, int]:
        """How many rows of the table we loaded for each of `wallets` that has any.

        One query per 10,000 wallets, of two columns; it reads only where those wallets are stored.
        """
        table = self._of.found() if wallets else None
        if table is None or "source" not in {field.name.lower() for field in table.schema}:
            return {}
        return {
            row[0]: row[1]
            for whose in self._whose(wallets)
            for row in self._of.rows("loaded_rows", whose)
        }

    def delete_loaded(self, wallets: Collection[str]) -> int:
        """Deletes what `loaded_rows` counts; returns how many.

        Two queries and one statement per 10,000 wallets.
        """
        # Noted first: if the process ends in between, no rows seem to be lost.
        self._noted.expect_fewer(sum(self.loaded_rows(wallets).values()))
        jobs = (self._of.query("delete_loaded", whose) for whose in self._whose(wallets))
        return sum(job.num_dml_affected_rows or 0 for job in jobs)

    def duplicates(self, limit: int) -> Duplicates:
        """Ids that occur more than once in as many of the newest months as CHECK_BYTES allows."""
        if self._of.found() is None:
            return Duplicates([])
        limited = ScalarQueryParameter("limit", "INT64", limit)
        rows, since = newest_rows(self._of, "duplicates", [limited], CHECK_BYTES)
        return Duplicates([(row[0], row[1], row[2]) for row in rows], since)

    def rows_by_month(self) -> Months:
        """Rows in the table for each of as many of the newest months as CHECK_BYTES allows."""
        if self._of.found() is None:
            return Months({})
        rows, since = newest_rows(self._of, "rows_by_month", [], CHECK_BYTES)
        return Months({row[0]: row[1] for row in rows}, since)

    def _whose(self, wallets: Collection[str]) -> Iterator[list[Parameter]]:
        """Parameters that name wallets, 10,000 at a time, and the sources whose rows are ours."""
        every = sorted(wallets)
        for start in range(0, len(every), _WALLETS):
            yield [
                ArrayQueryParameter("wallets", "STRING", every[start : start + _WALLETS]),
                ArrayQueryParameter("sources", "STRING", sorted(self.feed.shapes.sources)),
            ]


def packed(claims: Mapping[str, int]) -> Parameter:
    """The time until which each wallet's claims reach, as one text: 53 bytes a wallet.

    A request is 10 MB at most, which is 190,000 wallets; 100,000 take 5.3 MB. An array of
    structures would fit only a tenth of them.
    """
    packed = ",".join(f"{wallet}{until:010d}" for wallet, until in claims.items())
    return ScalarQueryParameter("claims", "STRING", packed)
