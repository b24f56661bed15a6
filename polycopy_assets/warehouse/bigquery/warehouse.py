"""A BigQuery dataset as the warehouse: for production."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import polars as pl
from google.cloud import bigquery
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.ledger.facts import Checkpoint
from polycopy_assets.trades.columns import TRADERS
from polycopy_assets.warehouse.base import as_text
from polycopy_assets.warehouse.bigquery import checkpoint
from polycopy_assets.warehouse.bigquery.boards import BigQueryBoards
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.dimensions import BigQueryDimensions
from polycopy_assets.warehouse.bigquery.feed_dataset import FeedDataset
from polycopy_assets.warehouse.bigquery.feed_table import CHECK_BYTES, BigQueryTable, packed
from polycopy_assets.warehouse.bigquery.load import Loader
from polycopy_assets.warehouse.bigquery.reader import BigQueryReader
from polycopy_assets.warehouse.bigquery.statements import quoted
from polycopy_assets.warehouse.bigquery.table import Wanted, fields
from polycopy_assets.warehouse.bigquery.windows import newest_rows
from polycopy_assets.warehouse.feed_table import Cost
from polycopy_assets.warehouse.fills import Compared, compared
from polycopy_assets.warehouse.holdings import Holdings, holdings
from polycopy_assets.warehouse.joined import DIMENSION_TABLES

_TRADERS = Wanted(fields({"wallet_address": pl.String()}, TRADERS.columns))
_NEW_TRADERS = 20_000
_WALLETS = 10_000


class BigQueryWarehouse:
    """The tables in one dataset; see `warehouse.base.Warehouse`.

    `feeds` are those whose tables `check_writable` makes, and `check_fits` looks at. `loader` None
    means that batches are loaded by load jobs.
    """

    def __init__(
        self, dataset: Dataset, *, feeds: Sequence[Feed] = (TRADES,), loader: Loader | None = None
    ) -> None:
        self.uri = dataset.uri
        self._dataset = dataset
        self._loader = loader
        self._feeds = feeds
        self._tables: dict[str, BigQueryTable] = {}

    def table(self, feed: Feed) -> BigQueryTable:
        """The table of `feed`, the same each time."""
        if feed.name not in self._tables:
            self._tables[feed.name] = BigQueryTable(self._dataset, feed, loader=self._loader)
        return self._tables[feed.name]

    @property
    def boards(self) -> BigQueryBoards:
        """The table `leaderboard`."""
        return BigQueryBoards(self._dataset)

    @property
    def dimensions(self) -> BigQueryDimensions:
        """The tables `tokens` and `markets`."""
        return BigQueryDimensions(self._dataset)

    def unmatched(self, until: Mapping[str, int], limit: int) -> Compared:
        """The trades that only one of the tables `trades` and `activity` has; one query.

        Of both, as many of the newest months as CHECK_BYTES allows.
        """
        fills, ledger = (self._dataset.found(feed.table) for feed in (TRADES, ACTIVITY))
        if fills is None or ledger is None:
            return compared([])
        limited = ScalarQueryParameter("limit", "INT64", limit)
        rows, since = newest_rows(
            FeedDataset(self._dataset, TRADES),
            "unmatched",
            [packed(until), limited],
            CHECK_BYTES,
            fills=quoted(fills.reference),
            ledger=quoted(ledger.reference),
        )
        return compared([tuple(row.values()) for row in rows], since)

    def below_zero(self, left_out: Collection[str], limit: int) -> Holdings:
        """The holdings by `activity` that are below nothing; one query.

        Of as many of the newest months as CHECK_BYTES allows. If these are not all, only tokens of
        markets that opened since then are judged.
        """
        ledger = self._dataset.found(ACTIVITY.table)
        if ledger is None:
            return Holdings(lacks=ACTIVITY.table)
        for name in sorted(DIMENSION_TABLES):
            if self._dataset.found(name) is None:
                return Holdings(lacks=name)
        parameters = [
            ArrayQueryParameter("left_out", "STRING", sorted(left_out)),
            ScalarQueryParameter("limit", "INT64", limit),
        ]
        of_feed = FeedDataset(self._dataset, ACTIVITY)
        rows, since = newest_rows(
            of_feed, "below_zero", parameters, CHECK_BYTES, ledger=quoted(ledger.reference)
        )
        return holdings([tuple(row.values()) for row in rows], since)

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
        self._traders()
        for feed in self._feeds:
            self.table(feed).make()
        self.describe()

    def check_fits(self, place: tuple[str, str] | None = None) -> None:
        """Raises Unsuitable if a table or the dataset is not as it must be.

        Also if not all rows can be read, or load jobs cannot read from `place`. Costs nothing.
        """
        if place is not None:
            self._dataset.check_near(place)
        self._dataset.check_table("traders", _TRADERS)
        for feed in self._feeds:
            self.table(feed).check_fits()

    def describe(self) -> None:
        """Writes the descriptions and views that are missing; bills nothing."""
        for feed in self._feeds:
            self.table(feed).describe()

    def add_traders(self, wallets: Iterable[str]) -> int:
        """Adds wallets that `traders` does not hold yet, whatever their case; returns how many."""
        self._traders()
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

    def _traders(self) -> bigquery.Table:
        """`traders` as it is now; created if missing, widened if it lacks its column."""
        return self._dataset.table("traders", _TRADERS, TRADERS.meaning)
