"""Stand-ins for Google Cloud, one set for each test process."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polycopy_assets.store.base import Store
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.store.local import LocalStore
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
