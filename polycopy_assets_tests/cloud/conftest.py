"""Stand-ins for Google Cloud, one set for each test process."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polycopy_assets.store.base import Store
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.warehouse.bigquery import BigQueryWarehouse
from polycopy_assets.warehouse.duckdb import DuckDBWarehouse
from polycopy_assets_tests.bench import Bench, duckdb_sql
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client, bigquery_sql
from polycopy_assets_tests.fakes.bigquery import Double, bigquery_double
from polycopy_assets_tests.fakes.bqemulator import bqemulator, installed
from polycopy_assets_tests.fakes.gcs import GCS, gcs_server

os.environ["NO_GCE_CHECK"] = "true"

StoreMaker = Callable[[], Store]


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


@pytest.fixture(params=["local", "gcs"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each store in turn, empty."""
    if request.param == "local":
        return LocalStore(tmp_path / "store")
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


@pytest.fixture(params=["duckdb", "double", "bqemulator"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Each warehouse in turn, empty, with a store that it can load from."""
    if request.param == "duckdb":
        warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
        return Bench(LocalStore(tmp_path / "store"), warehouse, duckdb_sql(warehouse.path))
    if request.param == "double":
        server: GCS = request.getfixturevalue("gcs")
        url = request.getfixturevalue("double").url
    else:
        server = request.getfixturevalue("files")
        url = request.getfixturevalue("emulator")
    client = bigquery_client(url)
    name = f"d{uuid.uuid4().hex[:12]}"
    client.create_dataset(name)
    server.client().create_bucket(name)
    warehouse = BigQueryWarehouse(
        client, PROJECT, name, max_bytes_billed=10**10, labels={"polycopy_asset": "trades"}
    )
    return Bench(GCSStore(server.client(), name, "pre"), warehouse, bigquery_sql(client, name))
