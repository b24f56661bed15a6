"""What all tests share."""

from collections.abc import Iterator
from functools import cache

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs a test that kills or freezes processes once more when it fails; the summary names it.

    Such a test has to meet a moment, and on a loaded machine it may miss it. A test that fails
    twice has found something.
    """
    for item in items:
        if "crash" in item.path.parts or item.get_closest_marker("dev"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session", autouse=True)
def _revisions_read_once() -> Iterator[None]:
    """Has alembic read Dagster's revision files once a process, not once a database.

    Each new instance, and each run's own SQLite file, asks which revision is the latest: 50 ms of
    importing files, a third of what a test of a whole backfill takes.
    """
    original = ScriptDirectory.from_config

    @cache
    def at(location: str | None) -> ScriptDirectory:
        config = Config()
        config.set_main_option("script_location", location or "")
        return original(config)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ScriptDirectory,
            "from_config",
            lambda config: at(config.get_main_option("script_location")),
        )
        yield
