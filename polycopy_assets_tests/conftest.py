"""What all tests share."""

from collections.abc import Iterator
from functools import cache

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory


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
