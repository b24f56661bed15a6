"""`.env` in the directory that a command starts in: read for our own settings and nothing else.

The directory may be anybody's. What else such a file sets is ignored, `PYTHONPATH` or a proxy, and
no value is made of others: `${DOME_API_KEY}` in a URL would send the key there.
"""

import io
from collections.abc import Mapping, MutableMapping
from pathlib import Path

import dotenv

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import NAMES, Settings, check_names
from polycopy_assets.sources.checked import API_KEY

URL = "POLYCOPY_SOURCE_URL"
_NAMED = 10


def take(environ: MutableMapping[str, str], directory: Path) -> str:
    """Puts the settings of `directory`/.env that `environ` lacks into it.

    Returns a line that says which file was read and what was taken; empty if there is none. Raises
    ConfigurationError.
    """
    path = directory / ".env"
    if not _is_there(path):
        return ""
    values = _values(path, interpolate=False)
    check_names(values)
    for name in NAMES:
        if "${" in values.get(name, ""):
            raise ConfigurationError(f"{path}: {name} holds ${{…}}, which is not expanded here")
    taken = [name for name in values if name in NAMES and name not in environ]
    for name in taken:
        environ[name] = values[name]
    ignored = [name for name in values if name not in NAMES]
    return f"settings from {path}: {', '.join(taken) or 'none'}" + (
        f"; not read: {_named(ignored)}" if ignored else ""
    )


def refuse_foreign_url(environ: Mapping[str, str], directory: Path, settings: Settings) -> None:
    """Raises ConfigurationError where a key of the environment would go to a URL of the file.

    Dagster's own commands read the file as well, all of it, and its values come first; `environ` is
    as they leave it.
    """
    path = directory / ".env"
    if not settings.needs_api_key or not _is_there(path):
        return
    plain, expanded = _values(path, interpolate=False), _values(path, interpolate=True)

    def from_file(name: str) -> bool:
        return environ.get(name) in {v.get(name) for v in (plain, expanded)} - {None}

    if from_file(URL) and not from_file(API_KEY):
        raise ConfigurationError(
            f"{URL} comes from {path.absolute()} and {API_KEY} from the environment:"
            f" the key is not sent to an address that a file names. Set {URL} in the environment"
            " and remove it from the file (or put both into the file, if it is yours)"
        )


def _is_there(path: Path) -> bool:
    """Whether there is a file to read; a directory of that name is a virtual environment."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigurationError(f"cannot read {path}: it is not a regular file")
        return path.is_file()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _values(path: Path, *, interpolate: bool) -> dict[str, str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"cannot read {path}: it is not UTF-8") from error
    found = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=interpolate)
    return {name: value for name, value in found.items() if value is not None}


def _named(names: list[str]) -> str:
    shown = ", ".join(name if name.isidentifier() else ascii(name)[:40] for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
