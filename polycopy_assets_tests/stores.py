"""Deployments on a local store and on Cloud Storage's stand-in, with the table in DuckDB."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.fakes.gcs import GCS, gcs_server, google_environ
from polycopy_assets_tests.of_trades import of_trades

KINDS = ("local", "gcs")


class BucketDeployment(Deployment):
    """A deployment whose store is a fresh bucket."""

    def __init__(self, root: Path, url: str, gcs: GCS, **settings: str) -> None:
        self.gcs = gcs
        self.name = f"b{uuid.uuid4().hex[:12]}"
        gcs.client().create_bucket(self.name)
        super().__init__(
            root, url, POLYCOPY_STORE=f"gs://{self.name}/pre", **google_environ(gcs), **settings
        )

    @property
    def store(self) -> FeedStore:
        return of_trades(GCSStore(self.gcs.client(), self.name, "pre"))


@contextmanager
def deployed_on(kind: str, root: Path, url: str, **settings: str) -> Iterator[Deployment]:
    """A deployment with a store of `kind`, empty."""
    root.mkdir(parents=True, exist_ok=True)
    if kind == "local":
        yield Deployment(root, url, **settings)
        return
    with gcs_server(root / "gcs.log") as gcs:
        yield BucketDeployment(root, url, gcs, **settings)
