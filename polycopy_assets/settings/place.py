"""Where a command works: the nearest directory with `.polycopy`, found upwards as git finds `.git`.

A Dagster home names classes that Dagster runs. So a directory above that belongs to another user is
not used by itself, only when a setting names it.
"""

import os
from collections.abc import Collection, MutableMapping
from pathlib import Path

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import (
    DEFAULT_HOME,
    DEFAULT_STORE,
    DEFAULT_WAREHOUSE,
    Settings,
)

FOLDER = ".polycopy"
ENV_FILE = ".env"
_DEFAULTS = {
    "POLYCOPY_STORE": DEFAULT_STORE,
    "POLYCOPY_WAREHOUSE": DEFAULT_WAREHOUSE,
    "DAGSTER_HOME": DEFAULT_HOME,
}


def root(start: Path) -> Path:
    """The directory that relative settings and defaults belong to; `start` if there is no other.

    A directory with an `.env` of its own is a place of its own.
    """
    if (start / ENV_FILE).is_file():
        return start
    here = start.absolute()
    for directory in (here, *here.parents):
        if (directory / FOLDER).is_dir():
            ours = directory == here or (directory / FOLDER).stat().st_uid == os.geteuid()
            return directory if ours else start
    return start


def anchor(environ: MutableMapping[str, str], directory: Path, given: Collection[str]) -> None:
    """Sets what is unset to its default in `directory`, and makes what its `.env` sets absolute.

    The settings in `given` stay as they are: they are relative to where the command was started.
    """
    for name, default in _DEFAULTS.items():
        value = environ.get(name) or default
        if (name not in given or not environ.get(name)) and not _is_url(value):
            environ[name] = str(directory / Path(value).expanduser())


def refuse_nothing(settings: Settings, where: Path) -> None:
    """Raises ConfigurationError if a command that only reads would find nothing at all.

    Else it would show zeros to somebody who is in the wrong directory.
    """
    places = (settings.home, settings.store, settings.warehouse)
    elsewhere = settings.instance != "files" or any(map(_is_url, places))
    if not elsewhere and not any(Path(each).expanduser().exists() for each in places):
        raise ConfigurationError(
            f"there is nothing in {where.absolute()}: no {FOLDER} there or above. Change to the"
            " directory where polycopy has worked, or set POLYCOPY_STORE, POLYCOPY_WAREHOUSE and"
            " DAGSTER_HOME"
        )


def _is_url(place: str) -> bool:
    return "://" in place
