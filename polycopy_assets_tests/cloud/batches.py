"""Loads into BigQuery's double: stores, datasets, and connections that fail."""

import threading
import uuid
from collections.abc import Callable
from typing import Any

import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud import bigquery

from polycopy_assets.store.base import Store
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets_tests.bench import END, WALLETS, Bench, middle
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client, bigquery_sql
from polycopy_assets_tests.fakes.bigquery import Double, Job
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.of_trades import of_trades

OURS, THEIRS = "a" * 32, "b" * 32
CAP = 10**10


class Killed(BaseException):
    """The process ends here."""


class Doomed(AuthorizedSession):
    """A connection on which one request, counted from 0, does not end well.

    `how` is `before` or `after` for a process that is killed before that request is sent or after
    it was answered, and `lost` for an answer that does not arrive.
    """

    def __init__(self, number: int, how: str) -> None:
        super().__init__(AnonymousCredentials())  # type: ignore[no-untyped-call]
        self.left, self.how = number, how

    def request(self, *args: Any, **options: Any) -> requests.Response:
        self.left -= 1
        if self.left == -1 and self.how == "before":
            raise Killed
        answer: requests.Response = super().request(*args, **options)
        if self.left == -1:
            raise Killed if self.how == "after" else requests.ConnectionError("reset")
        return answer


def warehouse(client: bigquery.Client, name: str, cap: int = CAP) -> BigQueryWarehouse:
    """The warehouse in a dataset; it does not wait long for anything."""
    dataset = Dataset(
        client,
        PROJECT,
        name,
        max_bytes_billed=cap,
        labels={"polycopy_asset": "trades"},
        patience=4.0,
        lost_after=0.2,
    )
    return BigQueryWarehouse(dataset)


class GoogleBench(Bench):
    """A bench on a dataset of `google`, which may be the real service."""

    def __init__(self, google: bigquery.Client, dataset: str, store: Store) -> None:
        self.google, self.dataset = google, dataset
        super().__init__(store, self.opened(), bigquery_sql(google, dataset))

    def opened(self) -> BigQueryWarehouse:
        """The warehouse, as another process opens it."""
        labels = {"polycopy_asset": "trades"}
        return BigQueryWarehouse(
            Dataset(
                self.google, self.google.project, self.dataset, max_bytes_billed=CAP, labels=labels
            )
        )

    def again(self) -> "GoogleBench":
        """The same for another process."""
        return GoogleBench(self.google, self.dataset, self.store)


class Place:
    """A bucket, and benches on it and on any dataset."""

    def __init__(self, gcs: GCS, double: Double) -> None:
        self.double, self.bucket = double, f"b{uuid.uuid4().hex[:12]}"
        self._gcs = gcs
        gcs.client().create_bucket(self.bucket)
        self.client = bigquery_client(double.url)

    def dataset(self) -> str:
        """A new one."""
        name = f"d{uuid.uuid4().hex[:12]}"
        self.double.create_dataset(PROJECT, name)
        return name

    def store(self, prefix: str = "p") -> FeedStore:
        return of_trades(GCSStore(self._gcs.client(), self.bucket, prefix))

    def bench(self, name: str, prefix: str = "p", client: bigquery.Client | None = None) -> Bench:
        """The store below `prefix` and dataset `name`."""
        table = warehouse(client or self.client, name)
        return Bench(self.store(prefix), table, bigquery_sql(self.client, name))

    def doomed(self, name: str, number: int, how: str) -> tuple[Bench, Doomed]:
        """A bench whose connection to BigQuery fails."""
        session = Doomed(number, how)
        client = bigquery.Client(
            project=PROJECT,
            _http=session,
            client_options={"api_endpoint": self.double.url},
        )
        return self.bench(name, client=client), session


def dataset_of(bench: Bench) -> str:
    """The name of its dataset."""
    return bench.warehouse.uri.rpartition("/")[2]


def is_change(job: Job) -> bool:
    """Whether it is a transaction that puts a batch into the table."""
    return "BEGIN TRANSACTION" in job.sql


def overlapping(bench: Bench) -> list[Manifest]:
    """Three batches: two of new trades, and one that replaces trades of both."""
    cut = middle(WALLETS[0])
    bench.fetch(WALLETS[0], 0, cut)
    first = bench.combine()
    bench.fetch(WALLETS[0], cut, END)
    second = bench.batch(WALLETS[1])
    third = bench.combine(*WALLETS[:2])
    assert first
    assert third
    return [first, second, third]


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Waits for it."""
    waiting = threading.Event()
    for _ in range(int(seconds * 50)):
        if condition():
            return
        waiting.wait(0.02)
    raise AssertionError("it did not happen")
