"""What a component's YAML says, checked: wallets and settings. Raises ConfigurationError."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from polycopy_assets.components.templates import Value
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import Settings, read_settings
from polycopy_assets.settings.checked import API_KEY
from polycopy_assets.settings.instance import INSTANCE
from polycopy_assets.settings.names import NAMES, check_names
from polycopy_assets.settings.shared import SHARED
from polycopy_assets.text import first_few, quoted
from polycopy_assets.trades.wallet import sort_out

STORE = "POLYCOPY_STORE"
TRACEBACK = "POLYCOPY_TRACEBACK"
WAREHOUSE = "POLYCOPY_WAREHOUSE"

_NAMED = 10
_OF_THE_PROCESS = {
    API_KEY: "it is a secret: set it in the environment of every process, never in YAML",
    INSTANCE: "your dagster.yaml says where Dagster keeps its record",
    SHARED: "set it in the environment of every process",
    STORE: "set `store`",
    TRACEBACK: "it is for the command `polycopy`",
    WAREHOUSE: "set `warehouse`",
}
"""Settings that the YAML does not take, and why."""


@contextmanager
def naming(place: Path) -> Iterator[None]:
    """Has a ConfigurationError name the component that it is about."""
    try:
        yield
    except ConfigurationError as error:
        text = str(error)
        for name, key in ((STORE, "store"), (WAREHOUSE, "warehouse")):
            text = text.replace(f"{name}=", f"{key}=")
        raise ConfigurationError(f"{place}: {text}") from error


def read_wallets(given: Iterable[str | int]) -> list[str]:
    """The wallets, lower case, each once.

    A number is refused: YAML reads 0x… without quotation marks as one, and loses its zeros.
    """
    texts = list(given)
    numbers = [hex(text) for text in texts if isinstance(text, int)]
    if numbers:
        raise ConfigurationError(
            f"wallets: {first_few(numbers, _NAMED)} is a number in YAML: write each wallet in"
            " quotation marks"
        )
    wallets, refused = sort_out(text for text in texts if isinstance(text, str))
    if refused:
        raise ConfigurationError(
            f"wallets: {first_few(map(quoted, refused), _NAMED)} is not a wallet (expected 0x and"
            " 40 hex digits)"
        )
    return wallets


def read_chosen(
    store: str,
    warehouse: str,
    given: Mapping[str, Value],
    *,
    root: Path,
    environ: Mapping[str, str],
) -> Settings:
    """The settings: those of the YAML, and for what it does not name those of `environ`.

    Relative paths are relative to `root`, the directory of the project.
    """
    for name in given:
        _check_name(name)
    found = read_settings(
        {
            **environ,
            **{name: str(value) for name, value in given.items()},
            STORE: _below(root, "store", store),
            WAREHOUSE: _below(root, "warehouse", warehouse),
        }
    )
    if found.instance == "ephemeral":
        raise ConfigurationError(
            f"{INSTANCE}=ephemeral is for the command `polycopy`: in a Dagster project nothing"
            " would keep the record. Unset it"
        )
    return found


def _check_name(name: str) -> None:
    if why := _OF_THE_PROCESS.get(name):
        raise ConfigurationError(f"settings: {name} is not accepted here: {why}")
    check_names([name])
    if name not in NAMES or not name.startswith("POLYCOPY_"):
        raise ConfigurationError(
            f"settings: {quoted(name)} is not a setting: docs/operations.md lists all"
        )


def _below(root: Path, key: str, place: str) -> str:
    if not place.strip():
        raise ConfigurationError(f"{key}: is empty: name a place")
    return place if "://" in place or place.startswith("~") else str(root / place)
