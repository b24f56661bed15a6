"""Dagster's alembic revisions, read once a process instead of once a database.

Each new instance, and each run's own SQLite file, asks which revision is the latest: 50 to 200 ms
of importing files, up to a third of what a short command takes.
"""

from functools import cache

from alembic.config import Config
from alembic.script import ScriptDirectory

LOCATION = "dagster:_core/storage/alembic"
"""Where Dagster has its revisions."""

_original = ScriptDirectory.from_config


@cache
def _at(location: str | None) -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", location or "")
    return _original(config)


def read_once(config: Config) -> ScriptDirectory:
    """Takes the place of `ScriptDirectory.from_config`."""
    return _at(config.get_main_option("script_location"))


def read_now() -> None:
    """Reads them, and has this process and what is forked from it use them."""
    ScriptDirectory.from_config = read_once  # type: ignore[method-assign]
    _at(LOCATION).as_revision_number("head")
