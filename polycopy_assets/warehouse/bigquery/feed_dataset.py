"""The table of one feed in a BigQuery dataset, and the statements on it."""

from collections.abc import Iterable, Sequence

from google.cloud import bigquery

from polycopy_assets.feeds.base import Feed
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.job_calls import Jobs, Parameter
from polycopy_assets.warehouse.bigquery.table import wanted_of


class FeedDataset:
    """What a dataset has of `feed`; `dataset` is the whole."""

    def __init__(self, dataset: Dataset, feed: Feed) -> None:
        self.dataset = dataset
        self.feed = feed
        self.uri = dataset.uri

    @property
    def jobs(self) -> Jobs:
        """The jobs of the dataset."""
        return self.dataset.jobs

    def found(self) -> bigquery.Table | None:
        """The feed's table as it is now; None if there is none."""
        return self.dataset.found(self.feed.table)

    def table(self) -> bigquery.Table:
        """The feed's table as it is now; created if missing, widened if it lacks columns."""
        return self.dataset.table(
            self.feed.table,
            wanted_of(self.feed),
            self.feed.relation.meaning,
            partitioned=True,
        )

    def check(self, table: bigquery.Table) -> None:
        """Raises Unsuitable if the feed's table cannot hold our rows as they are."""
        self.dataset.check(table, wanted_of(self.feed))

    def check_fits(self) -> None:
        """Raises Unsuitable if the feed's table cannot be used, or not be made; changes nothing."""
        self.dataset.check_table(self.feed.table, wanted_of(self.feed), partitioned=True)

    def query(
        self, name: str, parameters: Sequence[Parameter] = (), **names: str
    ) -> bigquery.QueryJob:
        """Runs statement `name` on the feed's table, and waits for its end."""
        return self.dataset.query(name, parameters, self.feed, **names)

    def rows(
        self, name: str, parameters: Sequence[Parameter] = (), **names: str
    ) -> Iterable[bigquery.Row]:
        """The rows of statement `name` on the feed's table."""
        return self.dataset.rows(name, parameters, self.feed, **names)

    def sql(self, name: str, **names: str) -> str:
        """Statement `name` on the feed's table."""
        return self.dataset.sql(name, self.feed, **names)
