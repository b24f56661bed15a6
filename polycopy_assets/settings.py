"""The settings: names, defaults, and what is accepted. Reads a mapping, never the environment."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.sources import dome, polymarket
from polycopy_assets.sources.budget import Window
from polycopy_assets.trades.cutter import SEGMENT_BYTES

SOURCES = {"polymarket": polymarket.BASE_URL, "dome": dome.BASE_URL}
DEFAULT_HOME = ".polycopy/dagster"
DEFAULT_STORE = ".polycopy/store"
DEFAULT_WAREHOUSE = ".polycopy/warehouse.duckdb"
DEFAULT_RATE_LIMIT = "200/10"
API_KEY = "DOME_API_KEY"

_URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings but the secret, which stays in the environment (see `needs_api_key`).

    `rate_limit` is as written, e.g. `100/1,500/10`; `timeout` seconds; `segment_bytes` bytes.
    """

    source: str = "polymarket"
    source_url: str = polymarket.BASE_URL
    rate_limit: str = DEFAULT_RATE_LIMIT
    concurrency: int = 16
    timeout: float = 30.0
    segment_bytes: int = SEGMENT_BYTES
    store: str = DEFAULT_STORE
    warehouse: str = DEFAULT_WAREHOUSE
    home: str = DEFAULT_HOME

    @property
    def needs_api_key(self) -> bool:
        """Whether the source wants DOME_API_KEY."""
        return self.source == "dome"


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` holds; raises ConfigurationError naming the wrong one."""
    source = environ.get("POLYCOPY_SOURCE") or "polymarket"
    if source not in SOURCES:
        raise wrong("POLYCOPY_SOURCE", source, " or ".join(SOURCES))
    if source == "dome" and not environ.get(API_KEY):
        raise ConfigurationError(
            f"{API_KEY} is not set: accepted is the API key of the gateway,"
            " which POLYCOPY_SOURCE='dome' needs"
        )
    url = (environ.get("POLYCOPY_SOURCE_URL") or SOURCES[source]).rstrip("/")
    if not _is_url(url):
        raise wrong("POLYCOPY_SOURCE_URL", url, "http://HOST[:PORT][/PATH] or https://…")
    rate_limit = environ.get("POLYCOPY_RATE_LIMIT") or DEFAULT_RATE_LIMIT
    parse_rate_limit(rate_limit)
    store = environ.get("POLYCOPY_STORE") or DEFAULT_STORE
    warehouse = environ.get("POLYCOPY_WAREHOUSE") or DEFAULT_WAREHOUSE
    for name, value, accepted in (
        ("POLYCOPY_STORE", store, "the path of a directory"),
        ("POLYCOPY_WAREHOUSE", warehouse, "the path of a DuckDB file"),
    ):
        if "://" in value:
            raise wrong(name, value, accepted)
    return Settings(
        source=source,
        source_url=url,
        rate_limit=rate_limit,
        concurrency=int(_number(environ, "POLYCOPY_CONCURRENCY", 16, 1, 1000, whole=True)),
        timeout=_number(environ, "POLYCOPY_TIMEOUT", 30.0, 0.1, 600.0),
        segment_bytes=int(
            _number(environ, "POLYCOPY_SEGMENT_BYTES", SEGMENT_BYTES, 1, SEGMENT_BYTES, whole=True)
        ),
        store=store,
        warehouse=warehouse,
        home=_directory("DAGSTER_HOME", environ.get("DAGSTER_HOME") or DEFAULT_HOME),
    )


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(_URL.fullmatch(text) and parts.hostname and parts.port != 0)
    except ValueError:
        return False


def _directory(name: str, text: str) -> str:
    try:
        return str(Path(text).expanduser().absolute())
    except RuntimeError as error:
        raise wrong(name, text, f"the path of a directory: {error}") from error


def parse_rate_limit(text: str) -> tuple[Window, ...]:
    """Sliding windows from `REQUESTS/SECONDS[,REQUESTS/SECONDS…]`; raises ConfigurationError."""
    windows = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*([0-9]{1,9})/([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*", part)
        if not found or int(found[1]) < 1 or float(found[2]) <= 0:
            raise wrong(
                "POLYCOPY_RATE_LIMIT", text, "REQUESTS/SECONDS, both above 0, e.g. 100/1,500/10"
            )
        windows.append(Window(int(found[1]), float(found[2])))
    return tuple(windows)


def _number(
    environ: Mapping[str, str],
    name: str,
    default: float,
    low: float,
    high: float,
    *,
    whole: bool = False,
) -> float:
    text = environ.get(name)
    if not text:
        return default
    accepted = f"a {'whole ' if whole else ''}number from {low:g} to {high:.10g}"
    if not re.fullmatch(r"[0-9]{1,9}" if whole else r"[0-9]{1,9}(\.[0-9]{1,6})?", text.strip()):
        raise wrong(name, text, accepted)
    value = float(text)
    if not low <= value <= high:
        raise wrong(name, text, accepted)
    return value


def wrong(name: str, value: str, accepted: str) -> ConfigurationError:
    """The error for a setting that is not accepted: its name, its value, what is."""
    return ConfigurationError(f"{name}={value!r} is not accepted: accepted is {accepted}")
