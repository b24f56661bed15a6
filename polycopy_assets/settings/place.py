"""Where a command works: the nearest directory with `.polycopy`, found upwards as git finds `.git`.

A Dagster home names classes that Dagster runs. So what belongs to another user, `.polycopy` or the
`.env` beside it, is not used from below, only when a setting names it, or in the directory itself.
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
            return directory if directory == here or _is_ours(directory) else start
    return start


def _is_ours(directory: Path) -> bool:
    """Whether `.polycopy`, and an `.env` beside it, are of this user: links and what they name."""
    try:
        return all(
            each.stat(follow_symlinks=follow).st_uid == os.geteuid()
            for each in (directory / FOLDER, directory / ENV_FILE)
            if os.path.lexists(each)
            for follow in (False, True)
        )
    except OSError:
        return False  # a link to nothing, or to what we may not see


def anchor(environ: MutableMapping[str, str], directory: Path, given: Collection[str]) -> None:
    """Sets what is unset to its default in `directory`, and makes what its `.env` sets absolute.

    The settings in `given` stay as they are: they are relative to where the command was started.
    """
    for name, default in _DEFAULTS.items():
        value = environ.get(name) or default
        if (name not in given or not environ.get(name)) and not _is_url(value):
            environ[name] = str(directory / Path(value).expanduser())


def refuse_nothing(settings: Settings, where: Path) -> None:
    """Raises ConfigurationError if a command that needs data would find nothing at all.

    Else it would show zeros to somebody who is in the wrong directory.
    """
    places = (settings.home, settings.store, settings.warehouse)
    elsewhere = settings.instance != "files" or any(map(_is_url, places))
    paths = [Path(each).expanduser() for each in places]
    if not elsewhere and not any(_cannot_be(path) or path.exists() for path in paths):
        raise ConfigurationError(
            f"there is nothing in {where.absolute()}: no {FOLDER} there or above. Change to the"
            " directory where polycopy has worked, or set POLYCOPY_STORE, POLYCOPY_WAREHOUSE and"
            " DAGSTER_HOME. To begin here: `polycopy wallets add`, or `polycopy demo`"
        )


def _cannot_be(path: Path) -> bool:
    """Whether a place is below a file, or where we may not look: its user names the setting."""
    return any(
        os.path.lexists(parent) and not (parent.is_dir() and os.access(parent, os.X_OK))
        for parent in path.parents
    )


def _is_url(place: str) -> bool:
    return "://" in place
