"""Stand-ins for Google Cloud, one set for each test process."""

import os
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from google.cloud import bigquery, storage

from polycopy_assets.store.base import Store
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.warehouse.bigquery import load
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.bench import Bench, duckdb_sql
from polycopy_assets_tests.cloud.batches import GoogleBench, Place
from polycopy_assets_tests.cloud.google import bigquery_client
from polycopy_assets_tests.cloud.projects import LOCATION, There, double_project, real_project
from polycopy_assets_tests.fakes.bigquery import Double, Job, bigquery_double
from polycopy_assets_tests.fakes.bqemulator import bqemulator, installed
from polycopy_assets_tests.fakes.gcs import GCS, gcs_server
from polycopy_assets_tests.fakes.storage import Storage, storage_double

os.environ["NO_GCE_CHECK"] = "true"


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
def strict() -> Iterator[Storage]:
    """Our own Cloud Storage, on which bucket settings have effects."""
    with storage_double() as running:
        yield running


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
    for blob in bucket.list_blobs():  # by itself, a client deletes a bucket of 256 at most
        blob.delete()
    bucket.delete()


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
        yield GoogleBench(owner, name, GCSStore(real.client, str(real.name), name))
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
    yield GoogleBench(client, name, GCSStore(server.client(), name, "pre"))


@pytest.fixture
def place(gcs: GCS, double: Double) -> Place:
    """A bucket, and benches on it and the double."""
    return Place(gcs, double)


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loaders do not wait for each other: they stand for processes of their own."""
    monkeypatch.setattr(load, "_changing", defaultdict(nullcontext))


@pytest.fixture
def held_open(double: Double) -> Iterator[tuple[threading.Event, threading.Event]]:
    """The first transaction waits before its last statement: it is `there`, and goes on by `go`."""
    there, go = threading.Event(), threading.Event()

    def before(job: Job, sql: str) -> None:
        del job
        if sql.startswith("COMMIT") and not there.is_set():
            there.set()
            assert go.wait(30)

    double.before = before
    yield there, go
    go.set()


@pytest.fixture(params=["double", pytest.param("cloud", marks=pytest.mark.cloud)])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[There]:
    """Each project in turn, with the wallets in `traders`."""
    if request.param == "cloud":
        place = real_project(request.getfixturevalue("cloud"))
    else:
        place = double_project(request.getfixturevalue("strict"), tmp_path)
    for found in place:
        found.bench.warehouse.add_traders(found.wallets)
        yield found


@pytest.fixture
def name(there: There) -> Iterator[str]:
    """The name of a job that is deleted at the end."""
    name = f"polycopy-test-{uuid.uuid4().hex[:12]}"
    yield name
    there.jobs.delete(name)
    assert there.fake is None or there.fake[0].jobs == {}
