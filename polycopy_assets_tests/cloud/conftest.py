"""Stand-ins for Google Cloud, one set for each test process."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import bigquery, storage

from polycopy_assets.store.base import Store
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.bench import Bench, duckdb_sql
from polycopy_assets_tests.cloud.google import bigquery_client, bigquery_sql
from polycopy_assets_tests.fakes.bigquery import Double, bigquery_double
from polycopy_assets_tests.fakes.bqemulator import bqemulator, installed
from polycopy_assets_tests.fakes.gcs import GCS, gcs_server

os.environ["NO_GCE_CHECK"] = "true"

LOCATION = os.environ.get("POLYCOPY_TEST_LOCATION", "EU")


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCS]:
    """Google Cloud Storage, in memory."""
    with gcs_server(tmp_path_factory.mktemp("gcs") / "log") as server:
        yield server


@pytest.fixture
def bucket(gcs: GCS) -> str:
    """A fresh bucket."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    gcs.client().create_bucket(name)
    return name


@pytest.fixture(scope="session")
def cloud() -> Iterator[storage.Bucket]:
    """A bucket in a real project, removed at the end; `make test-cloud`."""
    project = os.environ.get("POLYCOPY_TEST_PROJECT")
    if not project:
        pytest.skip("POLYCOPY_TEST_PROJECT is not set: no real Google Cloud project to test on")
    bucket = storage.Client(project=project).create_bucket(
        f"polycopy-test-{uuid.uuid4().hex}", location=LOCATION
    )
    yield bucket
    bucket.delete(force=True)


@pytest.fixture(params=["local", "gcs", pytest.param("cloud", marks=pytest.mark.cloud)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each store in turn, empty."""
    if request.param == "local":
        return LocalStore(tmp_path / "store")
    if request.param == "cloud":
        real: storage.Bucket = request.getfixturevalue("cloud")
        return GCSStore(
            storage.Client(project=real.client.project), str(real.name), uuid.uuid4().hex
        )
    return GCSStore(
        request.getfixturevalue("gcs").client(), request.getfixturevalue("bucket"), "pre/fix"
    )


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCS]:
    """Google Cloud Storage with its objects as files, which bqemulator reads."""
    folder = tmp_path_factory.mktemp("gcs-files")
    with gcs_server(folder / "log", folder / "root") as server:
        yield server


@pytest.fixture(scope="session")
def emulator(files: GCS, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """bqemulator's address."""
    if not installed():
        pytest.skip("bqemulator is not installed: `make test` installs it")
    assert files.root is not None
    with bqemulator(tmp_path_factory.mktemp("bqemulator") / "log", files.root) as url:
        yield url


@pytest.fixture
def double(gcs: GCS) -> Iterator[Double]:
    """Our own BigQuery, which reads from `gcs`."""
    with bigquery_double(gcs.url) as running:
        yield running


@pytest.fixture(
    params=["duckdb", "double", "bqemulator", pytest.param("cloud", marks=pytest.mark.cloud)]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Each warehouse in turn, empty, with a store that it can load from."""
    name = f"d{uuid.uuid4().hex[:12]}"
    if request.param == "duckdb":
        warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
        yield Bench(LocalStore(tmp_path / "store"), warehouse, duckdb_sql(warehouse.path))
        return
    if request.param == "cloud":
        real: storage.Bucket = request.getfixturevalue("cloud")
        owner = bigquery.Client(project=real.client.project, location=LOCATION)
        owner.create_dataset(name)
        yield _bench(owner, name, GCSStore(real.client, str(real.name), name))
        owner.delete_dataset(name, delete_contents=True)
        return
    if request.param == "double":
        server: GCS = request.getfixturevalue("gcs")
        url = request.getfixturevalue("double").url
    else:
        server = request.getfixturevalue("files")
        url = request.getfixturevalue("emulator")
    client = bigquery_client(url)
    client.create_dataset(name)
    server.client().create_bucket(name)
    yield _bench(client, name, GCSStore(server.client(), name, "pre"))


def _bench(client: bigquery.Client, dataset: str, store: Store) -> Bench:
    labels = {"polycopy_asset": "trades"}
    tables = Dataset(client, client.project, dataset, max_bytes_billed=10**10, labels=labels)
    warehouse = BigQueryWarehouse(tables)
    return Bench(store, warehouse, bigquery_sql(client, dataset))
