"""A deployment on Google Cloud's stand-ins."""

import uuid
from pathlib import Path
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets_tests.bench import Sql, addressed
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.fakes.gcs import GCS, google_environ
from polycopy_assets_tests.of_trades import of_trades

PROJECT = "proj"
PREFIX = "some/prefix"


class GoogleDeployment(Deployment):
    """Store and table on GCS and BigQuery; bucket and dataset carry the same fresh name."""

    def __init__(self, root: Path, url: str, gcs: GCS, bigquery_url: str, **settings: str) -> None:
        self.name = f"d{uuid.uuid4().hex[:12]}"
        self.gcs = gcs.client()
        self.gcs.create_bucket(self.name)
        self.bigquery = bigquery_client(bigquery_url)
        self.bigquery.create_dataset(self.name)
        super().__init__(
            root,
            url,
            POLYCOPY_STORE=f"gs://{self.name}/{PREFIX}",
            POLYCOPY_WAREHOUSE=f"bigquery://{PROJECT}/{self.name}",
            **google_environ(gcs, bigquery_url),
            **settings,
        )

    @property
    def store(self) -> FeedStore:
        return of_trades(GCSStore(self.gcs, self.name, PREFIX))

    def execute(self, sql: str, **parameters: Any) -> None:
        bigquery_sql(self.bigquery, self.name)(sql, **parameters)

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return bigquery_sql(self.bigquery, self.name)(sql, **parameters)


def bigquery_client(url: str) -> bigquery.Client:
    """Google's own client on a stand-in."""
    return bigquery.Client(
        project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
    )


_TYPES: dict[type, str] = {str: "STRING", int: "INT64"}


def bigquery_sql(client: bigquery.Client, dataset: str) -> Sql:
    """Statements on a dataset, by Google's own client."""

    def run(
        text: str, /, table: str = "", *, other: str = "", **parameters: Any
    ) -> list[tuple[Any, ...]]:
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter(name, _TYPES[type(value)], value)
                for name, value in parameters.items()
            ]
        )
        job = client.query(addressed(text, f"{dataset}.", table, other), job_config=config)
        return [tuple(row.values()) for row in job.result()]

    return run
