"""One setting from its text: what is accepted, and the error for anything else."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings.checked import shown_url
from polycopy_assets.text import quoted

Word = TypeVar("Word", bound=str)

_BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])((?:/[A-Za-z0-9._=-]+)*)/?")
_DATASET = re.compile(r"bigquery://([a-z0-9][a-z0-9.:-]{0,62})/([A-Za-z0-9_]{1,1024})/?")
_URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


def parse_bucket(url: str) -> tuple[str, str] | None:
    """Bucket and prefix of `gs://BUCKET[/PREFIX]`; None for anything else."""
    found = _BUCKET.fullmatch(url)
    if not found or any(part in {".", ".."} for part in found[2].split("/")):
        return None
    return found[1], found[2].strip("/")


def parse_dataset(url: str) -> tuple[str, str] | None:
    """Project and dataset of `bigquery://PROJECT/DATASET`; None for anything else."""
    found = _DATASET.fullmatch(url)
    return (found[1], found[2]) if found else None


def one_of(environ: Mapping[str, str], name: str, accepted: Sequence[Word]) -> Word:
    """The accepted word that is set; the first if none is."""
    text = environ.get(name) or accepted[0]
    for word in accepted:
        if text == word:
            return word
    raise wrong(name, text, " or ".join(accepted))


def emulator(host: str) -> str:
    """The address of BigQuery's emulator with its scheme; empty if there is none."""
    url = host if not host or "://" in host else f"http://{host}"
    if url and not is_url(url):
        raise wrong("BIGQUERY_EMULATOR_HOST", host, "http://HOST:PORT")
    return url.rstrip("/")


def is_url(text: str) -> bool:
    """Whether it is `http://HOST…` or `https://HOST…`, without a query."""
    try:
        parts = urlsplit(text)
        return bool(_URL.fullmatch(text) and parts.hostname and parts.port != 0)
    except ValueError:
        return False


def directory(name: str, text: str) -> str:
    """The absolute path; raises ConfigurationError for the home of an unknown user."""
    try:
        return str(Path(text).expanduser().absolute())
    except RuntimeError as error:
        raise wrong(name, text, f"the path of a directory: {error}") from error


ROUTE_LIMITS = "POLYCOPY_ROUTE_LIMITS"
DEFAULT_ROUTE_LIMITS = "/v2/tokens=200/10;/v2/resolutions=200/10;/markets/keyset=300/10"
"""What the services publish for their routes, or for the nearest one that has a number."""

ROUTES = (
    "/v2/trades",
    "/v2/activity",
    "/v2/status",
    "/v2/user-volume",
    "/v2/tokens",
    "/v2/resolutions",
    "/markets/keyset",
    "/v2/leaderboard",
    "/v2/biggest-winners",
    "/v2/holders",
    "/polymarket/orders",
)
"""The routes that polycopy asks, but for those whose path names what is asked for.

A test compares them with the paths of the sources.
"""


def parse_route_limits(text: str) -> dict[str, tuple[tuple[int, float], ...]]:
    """The sliding windows of each route, from `/PATH=REQUESTS/SECONDS[,…][;/PATH=…]`.

    A route of the default that is not named keeps its windows: to set one lifts no other. Raises
    ConfigurationError for anything else, and for a path that polycopy never asks: a budget for it
    would hold nothing back.
    """
    found: dict[str, tuple[tuple[int, float], ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        path, _, windows = part.partition("=")
        if not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", path) or path in found:
            raise wrong(ROUTE_LIMITS, text, "/PATH=REQUESTS/SECONDS[;…], each path once")
        if path not in ROUTES:
            raise ConfigurationError(
                f"{ROUTE_LIMITS}={quoted(text)} is not accepted: {_nearest_route(path)}"
            )
        found[path] = parse_rate_limit(windows, ROUTE_LIMITS)
    return (
        found if text == DEFAULT_ROUTE_LIMITS else parse_route_limits(DEFAULT_ROUTE_LIMITS) | found
    )


def _nearest_route(path: str) -> str:
    near = difflib.get_close_matches(path.lower(), ROUTES, n=1)
    return f"polycopy asks no route {quoted(path)}" + (
        f", did you mean {near[0]}?" if near else f"; it asks {', '.join(ROUTES)}"
    )


def parse_rate_limit(text: str, name: str = "POLYCOPY_RATE_LIMIT") -> tuple[tuple[int, float], ...]:
    """Sliding windows, as (requests, seconds), from `REQUESTS/SECONDS[,REQUESTS/SECONDS…]`.

    Raises ConfigurationError for anything else, with the `name` of the setting.
    """
    windows = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,9})/([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*", part)
        if not found or int(found[1]) < 1 or float(found[2]) <= 0:
            raise wrong(name, text, "REQUESTS/SECONDS, both above 0, e.g. 100/1,500/10")
        windows.append((int(found[1]), float(found[2])))
    return tuple(windows)


def number(
    environ: Mapping[str, str],
    name: str,
    default: float,
    low: float,
    high: float,
    *,
    whole: bool = False,
) -> float:
    """The number that is set, or `default`; raises ConfigurationError outside of the bounds."""
    text = environ.get(name)
    if not text:
        return default
    accepted = f"a {'whole ' if whole else ''}number from {low:g} to {high:.10g}"
    if not re.fullmatch(r"[0-9]{1,16}" if whole else r"[0-9]{1,9}(\.[0-9]{1,6})?", text.strip()):
        raise wrong(name, text, accepted)
    value = float(text)
    if not low <= value <= high:
        raise wrong(name, text, accepted)
    return value


def wrong(name: str, value: str, accepted: str) -> ConfigurationError:
    """The error for a setting that is not accepted: its name, its value and what is accepted.

    Of a URL only scheme, host and path are shown: the rest may be a password or a key.
    """
    is_path = value.startswith(("/", ".", "~"))
    shown = shown_url(value) if "://" in value or ("@" in value and not is_path) else value
    return ConfigurationError(f"{name}={quoted(shown)} is not accepted: expected {accepted}")
