"""`.env` in the directory that a command starts in: read for our own settings and nothing else.

The directory may belong to anyone. Anything else that such a file sets, such as `PYTHONPATH` or a
proxy, is ignored, and no value is expanded: `${DOME_API_KEY}` in a URL would send the key there.
"""

import io
import re
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

from dotenv.parser import parse_stream

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import Settings
from polycopy_assets.settings.checked import API_KEY
from polycopy_assets.settings.names import NAMES, check_names
from polycopy_assets.text import first_few, quoted

URL = "POLYCOPY_SOURCE_URL"
HOME = "DAGSTER_HOME"
_NAMED = 10
_LINE_END = re.compile(r"\r\n|\n|\r")


def take(environ: MutableMapping[str, str], directory: Path) -> str:
    """Adds to `environ` the settings of `directory`/.env that it lacks.

    Returns a line that says which file was read and what was taken; empty if there is none. Raises
    ConfigurationError for a file that cannot be read, or whose settings cannot be used.
    """
    path = directory / ".env"
    if not _is_there(path):
        return ""
    values = _checked(path)
    taken = [name for name in values if name in NAMES and name not in environ]
    if HOME in taken:
        _refuse_foreign_home(path, values[HOME])
    for name in taken:
        environ[name] = values[name]
    ignored = [name for name in values if name not in NAMES]
    return f"settings from {path}: {', '.join(taken) or 'none'}" + (
        f"; not read: {_named(ignored)}" if ignored else ""
    )


def refuse_foreign_url(environ: Mapping[str, str], directory: Path, settings: Settings) -> None:
    """Raises ConfigurationError if a key from the environment would be sent to a URL from the file.

    Dagster's own commands also read the whole file, and its values take precedence; `environ`
    already contains them. Also raises it for a file that `take` would refuse.
    """
    path = directory / ".env"
    if not _is_there(path):
        return
    values = _checked(path)
    if not settings.needs_api_key:
        return
    from_file = values.get(URL) and environ.get(URL) == values[URL]
    if from_file and environ.get(API_KEY) != values.get(API_KEY):
        raise ConfigurationError(
            f"{URL} comes from {path.absolute()} and {API_KEY} from the environment:"
            f" the key is not sent to an address that a file names. Set {URL} in the environment"
            " and remove it from the file (or put both into the file, if it is yours)"
        )


def _refuse_foreign_home(path: Path, home: str) -> None:
    """Refuses a home elsewhere: its `dagster.yaml` names classes, which Dagster runs."""
    directory = path.parent.resolve()
    try:
        inside = (directory / Path(home).expanduser()).resolve().is_relative_to(directory)
    except (OSError, RuntimeError):
        inside = False
    if not inside:
        raise ConfigurationError(
            f"{path}: {HOME}={quoted(home)} is not accepted: the dagster.yaml there may run code,"
            f" and lies outside of {directory}. Set {HOME} in the environment"
        )


def _is_there(path: Path) -> bool:
    """Whether there is a file to read; a directory of that name may be a virtual environment."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigurationError(f"cannot read {path}: it is not a regular file")
        return path.is_file()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error


def _checked(path: Path) -> dict[str, str]:
    """Everything that the file sets; our own settings are checked to be usable as written."""
    found: dict[str, str] = {}
    for line, name, value in _lines(path):
        try:
            check_names([name])
            if name in NAMES:
                _check(name, value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}, line {line}: {error}") from error
        if value is not None:
            found[name] = value
    return found


def _check(name: str, value: str | None) -> None:
    if value is None:
        raise ConfigurationError(f"{name} has no value")
    if "${" in value:
        raise ConfigurationError(f"{name} holds ${{…}}, which is not expanded here")
    if set(value.strip()) & {"\0", "\r", "\n"}:
        raise ConfigurationError(
            f"{name} holds a line break or a NUL: is a quotation mark missing?"
        )


def _lines(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """(line, name, value) of what the file sets, parsed as Dagster parses such files."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"cannot read {path}: it is not UTF-8") from error
    for binding in parse_stream(io.StringIO(text)):
        whole = binding.original.string
        blank = whole[: len(whole) - len(whole.lstrip())]
        line = binding.original.line + len(_LINE_END.findall(blank))
        if binding.error:
            # The text is not shown: it may be a key.
            raise ConfigurationError(
                f"{path}, line {line} cannot be read: expected NAME=VALUE, with its quotation marks"
                " closed"
            )
        if binding.key is not None:
            yield line, binding.key, binding.value


def _named(names: list[str]) -> str:
    shown = (name if name.isidentifier() else quoted(name) for name in names)
    return first_few(shown, _NAMED)
