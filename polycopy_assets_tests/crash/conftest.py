"""What tests of crashes share."""

from collections.abc import Iterator

import pytest

from polycopy_assets_tests.fakes.postgres import postgres


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a Postgres database."""
    with postgres() as url:
        yield url
