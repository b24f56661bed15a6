"""The table beside that of a feed: which batches that holds, and of which store.

It has one row for each batch, and a row of batch 0 for the whole table: the id of the store, how
many rows of ours that has at least, and a token (`digest`) that every change replaces. Earlier
versions kept labels of `trades` instead. Those are read until the table exists, and then removed.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
import polars as pl
from google.cloud import bigquery
from google.cloud.bigquery import ScalarQueryParameter

from polycopy_assets.errors import WarehouseError
from polycopy_assets.trades.batch_rules import LAST_BATCH
from polycopy_assets.warehouse.bigquery.feed_dataset import FeedDataset
from polycopy_assets.warehouse.bigquery.job_calls import Parameter
from polycopy_assets.warehouse.bigquery.table import Wanted, fields

BATCHES_LABEL = "polycopy_batches"
"""The last batch that `trades` held, by an earlier version."""

EMPTY_LABEL = "polycopy_empty"
"""The batch that left the table empty, by an earlier version."""

STORE_LABEL = "polycopy_store"
"""The id of the store that the batches came from, by an earlier version."""

LABELS = (BATCHES_LABEL, STORE_LABEL, EMPTY_LABEL)


_BATCHES = Wanted(
    fields(
        {
            "store": pl.String(),
            "batch": pl.Int64(),
            "digest": pl.String(),
            "rows": pl.Int64(),
            "loaded_at": pl.Datetime(),
        }
    ),
    known=frozenset({"batch", "loaded_at"}),
    row="batch",
    rows="batches",
)
"""The columns of the table, as `create_batches.sql` makes them."""


class Noted(msgspec.Struct, frozen=True):
    """A row of the table; None is unknown."""

    batch: int
    store: str | None
    digest: str | None
    rows: int | None


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What is noted of a feed's table: its store, its batches, and how many rows it has at least.

    `token` names this state, until the next change; None if there is no table of batches yet.
    """

    store: str | None = None
    batches: Mapping[int, Noted] = {}
    least: int = 0
    token: str | None = None


class BatchesTable:
    """Reads and changes what a dataset says of the batches of a feed."""

    def __init__(self, of_feed: FeedDataset) -> None:
        self._of = of_feed
        self._dataset = of_feed.dataset
        self._name = of_feed.feed.batches

    def read(self, table: bigquery.Table | None) -> Notes:
        """What is noted of `table`, the feed's; costs nothing."""
        kept = self._dataset.found(self._name)
        if kept is None:
            return self._of_labels(table)
        notes = self._of_rows(kept)
        if table is None or BATCHES_LABEL not in table.labels:
            return notes
        # An earlier version has loaded since, and not beyond this batch.
        last = _last_batch(table)
        there = {number: item for number, item in notes.batches.items() if number <= last}
        return msgspec.structs.replace(notes, batches=there)

    def lost(self, table: bigquery.Table | None, notes: Notes) -> bool:
        """Whether `table` has fewer rows than its batches left there: something else took some."""
        return notes.least > 0 and (table is None or not self._dataset.has_rows(table, notes.least))

    def check_fits(self) -> None:
        """Raises Unsuitable if the table of batches is there and cannot be used; costs nothing."""
        self._dataset.check_table(self._name, _BATCHES)

    def make(self, table: bigquery.Table) -> None:
        """Creates what is missing beside `table`, with what its labels say, and removes these."""
        kept = self._dataset.found(self._name)
        if kept is None:
            notes = self._of_labels(table)
            lost = self.lost(table, notes)
            last = 0 if lost else max(notes.batches, default=0)
            self._dataset.check_lasting()
            self._create(notes.store, last, 0 if lost else notes.least)
        elif BATCHES_LABEL in table.labels:
            last = _last_batch(table)
            if any(number > last for number in self._of_rows(kept).batches):
                after = ScalarQueryParameter("last", "INT64", last)
                self._of.query("forget_after", [after])
        self._remove_labels(table)

    def _create(self, store: str | None, last: int, least: int) -> None:
        parameters: list[Parameter] = [
            ScalarQueryParameter("store", "STRING", store),
            ScalarQueryParameter("last", "INT64", last),
            ScalarQueryParameter("least", "INT64", least),
            *fresh(),
        ]
        try:
            self._of.query("create_batches", parameters)
        except WarehouseError:
            if self._dataset.found(self._name) is None:
                raise  # otherwise another process has created it meanwhile

    def take_over(self, table: bigquery.Table, store: str) -> None:
        """Notes the store with id `store`, whatever was noted before."""
        self.make(table)
        parameters = [ScalarQueryParameter("store", "STRING", store), _token()]
        self._of.query("take_over", parameters)

    def expect_fewer(self, rows: int) -> None:
        """Notes that so many rows of ours are about to be deleted."""
        if rows and self._dataset.found(self._name) is not None:
            fewer = ScalarQueryParameter("fewer", "INT64", rows)
            self._of.query("expect_fewer", [fewer, _token()])

    def forget(self) -> None:
        """Forgets all batches and their store."""
        table = self._of.found()
        if table is not None:
            self._remove_labels(table)
        kept = self._dataset.found(self._name)
        if kept is not None:
            self._dataset.drop(kept)

    def _of_rows(self, kept: bigquery.Table) -> Notes:
        try:
            rows = msgspec.convert(self._dataset.listed(kept), list[Noted])
        except msgspec.ValidationError as error:
            raise self._unclear(str(error)) from error
        whole = [item for item in rows if item.batch == 0]
        if len(whole) != 1 or whole[0].digest is None:
            raise self._unclear("it has no row of batch 0")
        store = whole[0].store
        return Notes(
            store=store,
            batches={
                item.batch: item
                for item in sorted(rows, key=lambda item: item.batch)
                if item.batch > 0 and item.store in {None, store}
            },
            least=whole[0].rows or 0,
            token=whole[0].digest,
        )

    def _unclear(self, why: str) -> WarehouseError:
        return WarehouseError(
            f"table {self._name} in {self._dataset.uri} does not say which batches are loaded:"
            f" {why}. Drop that table, and the next backfill loads all batches again"
        )

    def _of_labels(self, table: bigquery.Table | None) -> Notes:
        labels = table.labels if table else {}
        if table is None or not labels:
            return Notes()
        last = _last_batch(table)
        emptied = labels.get(EMPTY_LABEL) == str(last)
        return Notes(
            store=labels.get(STORE_LABEL),
            batches={number: Noted(number, None, None, None) for number in range(1, last + 1)},
            least=1 if last and not emptied else 0,  # how many, the labels do not say
        )

    def _remove_labels(self, table: bigquery.Table) -> None:
        for _ in range(10):
            ours = [name for name in LABELS if name in table.labels]
            if not ours or self._dataset.label(table, dict.fromkeys(ours)):
                return
            table = self._of.table()
        raise WarehouseError(
            f"something else keeps changing table {table.table_id} of {self._dataset.uri}: its"
            " labels cannot be removed"
        )


def fresh() -> list[ScalarQueryParameter]:
    """Parameters for a change: a new token, and the time."""
    return [_token(), ScalarQueryParameter("now", "TIMESTAMP", datetime.now(UTC))]


def _token() -> ScalarQueryParameter:
    return ScalarQueryParameter("token", "STRING", uuid.uuid4().hex)


def _last_batch(table: bigquery.Table) -> int:
    """The number of the last batch that `table` holds, by its label; 0 if none.

    Also 0 for a number that no batch can have: then all batches are loaded again.
    """
    text = table.labels.get(BATCHES_LABEL, "0")
    if not text.isdecimal():
        raise WarehouseError(
            f"label {BATCHES_LABEL}={text!r} of table {table.table_id} is not a number. Remove that"
            " label, and the next backfill loads all batches again"
        )
    return number if (number := int(text)) <= LAST_BATCH else 0
