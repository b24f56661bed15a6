"""The transaction that puts a staged batch into a feed's table and notes it in the one beside it.

The rows to delete are counted before it, so that it reads no more partitions than it must. The
token there tells whether another load has come between: then it changes nothing.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from google.cloud import bigquery
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from polycopy_assets.errors import BatchBroken, WarehouseError, WrongTable
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.warehouse.bigquery.batches_table import BatchesTable, Notes, fresh
from polycopy_assets.warehouse.bigquery.feed_dataset import FeedDataset
from polycopy_assets.warehouse.bigquery.job_calls import Parameter
from polycopy_assets.warehouse.bigquery.statements import quoted
from polycopy_assets.warehouse.bigquery.windows import Window, rows_within
from polycopy_assets.warehouse.feed_table import Loaded

TRIES = 6
"""Transactions for one batch, as long as other loads come between."""

CANCELLED = "concurrent update"
"""In BigQuery's message for a transaction that it cancels in favour of another one."""

_FEW_WALLETS = 1_000
_STEP = timedelta(microseconds=1)


class Batch(NamedTuple):
    """A batch to load: its manifest, the id of its store, and the checksum of its manifest."""

    manifest: Manifest
    store: str | None
    digest: str | None


class _Claimed(NamedTuple):
    """Rows of the table that a batch replaces: how many, and parameters that find them."""

    rows: int
    parameters: list[Parameter]


class _Counted(NamedTuple):
    """What claimed.sql says of some months."""

    rows: int
    low: datetime | None
    high: datetime | None
    staged: int
    unclaimed: int


class Change:
    """Puts one batch, staged in a table, into that of its feed."""

    def __init__(
        self, of_feed: FeedDataset, noted: BatchesTable, batch: Batch, staging: bigquery.Table
    ) -> None:
        self._of = of_feed
        self._noted = noted
        self._batch = batch
        self._staging = staging
        self._seen: str | None = None
        self._own: set[str] = set()
        self._counted: str | None = None
        self._claimed = _Claimed(0, [])

    def run(self, name: str) -> Loaded:
        """Runs the transaction under one of the ids `name_0`, `name_1` and so on.

        If another load comes between, the rows to delete are counted again, a few times. Raises
        BatchBroken if staged rows lie outside all claims, and WrongTable if another store is noted.
        """
        for number in range(1, TRIES + 1):
            try:
                # Since an earlier one, a later batch may have been loaded; it is safe to repeat.
                self._of.jobs.run(bigquery.QueryJob, name, self._begin, lambda _: False)
            except BatchBroken:
                raise
            except WarehouseError as error:
                token = self._noted.read(None).token
                if token in self._own:
                    break  # it was committed, and that could not be read
                overtaken = token != self._seen or CANCELLED in str(error)
                if not overtaken or number == TRIES:
                    raise
                self._of.jobs.pause(number)
            else:
                break
        return Loaded(self._batch.manifest.rows, self._claimed.rows)

    def _begin(self, job_id: str, labels: Mapping[str, str]) -> bigquery.QueryJob:
        manifest, store, digest = self._batch
        table = self._of.table()
        notes = self._noted.read(table)
        self._seen = notes.token
        refuse_others(self._of, notes, store)
        if notes.token in self._own:
            raise WarehouseError("an earlier one was committed")  # `run` sees the same
        if self._counted is None or self._counted != notes.token:
            self._claimed = self._count(table)
            self._counted = notes.token
        lost = self._noted.lost(table, notes)
        before = 0 if lost else notes.least - self._claimed.rows
        new = fresh()
        self._own.add(str(new[0].value))
        staging = quoted(self._staging.reference)
        change = self._of.sql("merge" if self._claimed.rows else "insert", staging=staging)
        parameters: list[Parameter] = [
            *(self._claimed.parameters if self._claimed.rows else ()),
            *new,
            ScalarQueryParameter("seen", "STRING", notes.token),
            ScalarQueryParameter("store", "STRING", store),
            ScalarQueryParameter("batch", "INT64", manifest.batch),
            ScalarQueryParameter("digest", "STRING", digest),
            ScalarQueryParameter("row_count", "INT64", manifest.rows),
            ScalarQueryParameter("forgotten", "INT64", 1 if lost else manifest.batch),
            ScalarQueryParameter("least", "INT64", max(before, 0) + manifest.rows),
        ]
        sql = self._of.sql("load", change=change)
        return self._of.jobs.begin_query(sql, parameters, job_id, labels)

    def _count(self, table: bigquery.Table) -> _Claimed:
        """The rows of `table` that the batch replaces, and from when to when they are.

        A MERGE that may delete is billed for all columns of all partitions that it may delete from;
        this query is billed for two columns, and usually finds nothing to delete. If it would bill
        more than the cap, it is several.
        """
        manifest = self._batch.manifest
        wallets = sorted({claim.wallet for claim in manifest.claims})
        many = len(wallets) > _FEW_WALLETS
        whose: list[Parameter] = [
            ScalarQueryParameter("many", "BOOL", many),
            ArrayQueryParameter("wallets", "STRING", [] if many else wallets),
            ScalarQueryParameter("first", "STRING", wallets[0]),
            ScalarQueryParameter("last", "STRING", wallets[-1]),
        ]
        low = datetime.fromtimestamp(min(claim.start for claim in manifest.claims), UTC)
        high = datetime.fromtimestamp(max(claim.until for claim in manifest.claims), UTC) - _STEP
        staging = quoted(self._staging.reference)
        in_months = [
            _Counted(*row.values())
            for row in rows_within(self._of, table, "claimed", whose, (low, high), staging=staging)
        ]
        staged, unclaimed = in_months[0].staged, in_months[0].unclaimed  # the same in all of them
        if unclaimed:
            why = f"{counted(unclaimed, 'row')} of its parts outside of its claims"
            raise BatchBroken(manifest.batch, why)
        if staged != manifest.rows:
            rows = counted(manifest.rows, self._of.feed.row, self._of.feed.rows)
            why = f"{rows} by its manifest, but {staged:,} in its parts"
            raise BatchBroken(manifest.batch, why)
        times = [time for each in in_months for time in (each.low, each.high) if time is not None]
        if not times:
            return _Claimed(0, [])
        bounds = Window(times[0], times[-1], 0)
        return _Claimed(sum(each.rows for each in in_months), [*whose, *bounds.parameters])


def refuse_others(of: FeedDataset, notes: Notes, store: str | None) -> None:
    """Raises WrongTable if the table holds batches of another store."""
    if store and notes.store and notes.store != store:
        raise WrongTable(of.feed.table, of.uri, notes.store, store)
