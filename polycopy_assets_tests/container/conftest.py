"""The image of `deploy/build`, and a volume for its containers."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from polycopy_assets_tests.container.images import BUILD, Images, missing, storage


@pytest.fixture(scope="package")
def images() -> Iterator[Images]:
    """A storage with the image `one`."""
    lacking = missing("buildah", "mmdebstrap")
    assert not lacking, f"not installed: apt-get install {' '.join(lacking)}"
    BUILD.mkdir(exist_ok=True)
    with storage(Path(tempfile.mkdtemp(dir=BUILD))) as images:
        images.build("one")
        yield images


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory on a disk, for the volume; it belongs to the image's account."""
    folder = Path(tempfile.mkdtemp(dir=BUILD))
    os.chown(folder, 10001, 10001)
    yield folder
    shutil.rmtree(folder)
