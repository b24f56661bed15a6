"""The settings: names, defaults, and what is accepted. Reads a mapping, never the environment."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar, get_args
from urllib.parse import urlsplit

import msgspec

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.ledger.findings import POLICIES, Policy
from polycopy_assets.sharing import SHARED, UMASKS, WORDS, Shared
from polycopy_assets.sources import dome, polymarket
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.checked import (
    API_KEY,
    check_certificates,
    clean_key,
    refuse_credentials,
    shown_url,
)
from polycopy_assets.sources.proxy import proxy_variable
from polycopy_assets.text import quoted
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.trades.horizon import DEFAULT_MAX_LAG

Kind = Literal["polymarket", "dome"]
LoadVia = Literal["job", "dts"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LOAD_VIA: tuple[LoadVia, ...] = get_args(LoadVia)
Word = TypeVar("Word", bound=str)

SOURCES = {"polymarket": polymarket.BASE_URL, "dome": dome.BASE_URL}
DEFAULT_HOME = ".polycopy/dagster"
DEFAULT_STORE = ".polycopy/store"
DEFAULT_WAREHOUSE = ".polycopy/warehouse.duckdb"
DEFAULT_RATE_LIMIT = "200/10"

NAMES = (
    "POLYCOPY_ADOPT",
    "POLYCOPY_CONCURRENCY",
    "POLYCOPY_DTS_CONFIG",
    "POLYCOPY_LATE_HOURS",
    "POLYCOPY_LOAD_VIA",
    "POLYCOPY_MAX_BYTES_BILLED",
    "POLYCOPY_MAX_LAG",
    "POLYCOPY_RATE_LIMIT",
    "POLYCOPY_SEGMENT_BYTES",
    SHARED,
    "POLYCOPY_SOURCE",
    "POLYCOPY_SOURCE_URL",
    "POLYCOPY_STORE",
    "POLYCOPY_TIMEOUT",
    "POLYCOPY_TRACEBACK",
    "POLYCOPY_WAREHOUSE",
    API_KEY,
    "BIGQUERY_EMULATOR_HOST",
    "DAGSTER_HOME",
    "STORAGE_EMULATOR_HOST",
)
"""All variables that are settings of ours."""

_PREFIX = "POLYCOPY_"
_TESTS = "POLYCOPY_TEST_"
"""What the test suite is told; nothing else reads it."""

_KUBERNETES = re.compile(
    r"POLYCOPY_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PORT|PROTO|ADDR))?)?)"
)
"""Kubernetes sets these in every pod beside a service whose name begins with `polycopy`."""

DEFAULT_LATE_HOURS = 24
DEFAULT_MAX_BYTES_BILLED = 10_000_000_000

_BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])((?:/[A-Za-z0-9._=-]+)*)/?")
_DATASET = re.compile(r"bigquery://([a-z0-9][a-z0-9.:-]{0,62})/([A-Za-z0-9_]{1,1024})/?")
_DTS_CONFIG = re.compile(r"projects/[a-z0-9.:-]+(/locations/[a-z0-9-]+)?/transferConfigs/[\w-]+")
_URL = re.compile(r"https?://[^\s/?#]+[^\s?#]*")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings but the secrets, which stay in the environment (see `needs_api_key`).

    `proxy` is the name of the variable that holds the proxy to the source, with its password.
    `rate_limit` is as written, e.g. `100/1,500/10`; `timeout` seconds; `segment_bytes` bytes;
    `max_lag` seconds;
    `max_bytes_billed` bytes a query; the emulator is BigQuery's stand-in, empty for the real one.
    """

    source: Kind = "polymarket"
    source_url: str = polymarket.BASE_URL
    proxy: str = ""
    rate_limit: str = DEFAULT_RATE_LIMIT
    concurrency: int = 16
    timeout: float = 30.0
    segment_bytes: int = SEGMENT_BYTES
    store: str = DEFAULT_STORE
    warehouse: str = DEFAULT_WAREHOUSE
    max_bytes_billed: int = DEFAULT_MAX_BYTES_BILLED
    load_via: LoadVia = "job"
    dts_config: str = ""
    adopt: Policy = POLICIES[0]
    late_hours: int = DEFAULT_LATE_HOURS
    max_lag: int = DEFAULT_MAX_LAG
    shared: Shared = WORDS[0]
    bigquery_emulator: str = ""
    home: str = DEFAULT_HOME

    @property
    def needs_api_key(self) -> bool:
        """Whether the source wants DOME_API_KEY."""
        return self.source == "dome"

    @property
    def umask(self) -> int:
        """The bits that new files and directories do not get."""
        return UMASKS[self.shared]


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` holds; raises ConfigurationError naming the wrong one."""
    check_names(environ)
    check_certificates(environ)
    source = _one_of(environ, "POLYCOPY_SOURCE", KINDS)
    if source == "dome" and not clean_key(environ.get(API_KEY, "")):
        raise ConfigurationError(
            f"{API_KEY} is not set: accepted is the API key of the gateway,"
            " which POLYCOPY_SOURCE='dome' needs"
        )
    url = (environ.get("POLYCOPY_SOURCE_URL") or SOURCES[source]).rstrip("/")
    if not _is_url(url):
        raise wrong("POLYCOPY_SOURCE_URL", url, "http://HOST[:PORT][/PATH] or https://…")
    refuse_credentials("POLYCOPY_SOURCE_URL", url)
    rate_limit = environ.get("POLYCOPY_RATE_LIMIT") or DEFAULT_RATE_LIMIT
    parse_rate_limit(rate_limit)
    store = environ.get("POLYCOPY_STORE") or DEFAULT_STORE
    warehouse = environ.get("POLYCOPY_WAREHOUSE") or DEFAULT_WAREHOUSE
    if parse_bucket(store) is None and "://" in store:
        raise wrong("POLYCOPY_STORE", store, "the path of a directory, or gs://BUCKET[/PREFIX]")
    if parse_dataset(warehouse) is None and "://" in warehouse:
        raise wrong(
            "POLYCOPY_WAREHOUSE",
            warehouse,
            "the path of a DuckDB file, or bigquery://PROJECT/DATASET",
        )
    for name, path in (("POLYCOPY_STORE", store), ("POLYCOPY_WAREHOUSE", warehouse)):
        _directory(name, path)
    if parse_dataset(warehouse) and not parse_bucket(store):
        raise wrong(
            "POLYCOPY_STORE", store, "gs://BUCKET[/PREFIX], because BigQuery loads from there"
        )
    load_via = _one_of(environ, "POLYCOPY_LOAD_VIA", LOAD_VIA)
    dts_config = environ.get("POLYCOPY_DTS_CONFIG") or ""
    if (dts_config or load_via == "dts") and not _DTS_CONFIG.fullmatch(dts_config):
        raise wrong(
            "POLYCOPY_DTS_CONFIG",
            dts_config,
            "projects/PROJECT/locations/LOCATION/transferConfigs/ID, which POLYCOPY_LOAD_VIA=dts"
            " needs",
        )
    adopt = _one_of(environ, "POLYCOPY_ADOPT", POLICIES)
    return Settings(
        source=source,
        source_url=url,
        proxy=proxy_variable(environ, url),
        rate_limit=rate_limit,
        concurrency=int(_number(environ, "POLYCOPY_CONCURRENCY", 16, 1, 1000, whole=True)),
        timeout=_number(environ, "POLYCOPY_TIMEOUT", 30.0, 0.1, 600.0),
        segment_bytes=int(
            _number(environ, "POLYCOPY_SEGMENT_BYTES", SEGMENT_BYTES, 1, SEGMENT_BYTES, whole=True)
        ),
        store=store,
        warehouse=warehouse,
        max_bytes_billed=int(
            _number(
                environ,
                "POLYCOPY_MAX_BYTES_BILLED",
                DEFAULT_MAX_BYTES_BILLED,
                10 * 2**20,
                10**15,
                whole=True,
            )
        ),
        load_via=load_via,
        dts_config=dts_config,
        adopt=adopt,
        late_hours=int(
            _number(environ, "POLYCOPY_LATE_HOURS", DEFAULT_LATE_HOURS, 1, 8760, whole=True)
        ),
        max_lag=int(_number(environ, "POLYCOPY_MAX_LAG", DEFAULT_MAX_LAG, 0, 10**9, whole=True)),
        shared=_one_of(environ, SHARED, WORDS),
        bigquery_emulator=_emulator(environ.get("BIGQUERY_EMULATOR_HOST") or ""),
        home=_directory("DAGSTER_HOME", environ.get("DAGSTER_HOME") or DEFAULT_HOME),
    )


def check_names(names: Iterable[str]) -> None:
    """Raises ConfigurationError for a name that looks like a setting of ours and is none."""
    for name in names:
        if (
            name.upper().startswith(_PREFIX)
            and name not in NAMES
            and not name.startswith(_TESTS)
            and not _KUBERNETES.fullmatch(name)
        ):
            raise ConfigurationError(f"{name} is not a setting{_nearest(name)}")


def _nearest(name: str) -> str:
    found = difflib.get_close_matches(name.upper(), NAMES, n=1)
    if found:
        return f": did you mean {found[0]}?"
    return ": docs/operations.md lists all; unset it"


def _one_of(environ: Mapping[str, str], name: str, accepted: Sequence[Word]) -> Word:
    """The accepted word that is set; the first if none is."""
    text = environ.get(name) or accepted[0]
    for word in accepted:
        if text == word:
            return word
    raise wrong(name, text, " or ".join(accepted))


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


def _emulator(host: str) -> str:
    url = host if not host or "://" in host else f"http://{host}"
    if url and not _is_url(url):
        raise wrong("BIGQUERY_EMULATOR_HOST", host, "http://HOST:PORT")
    return url.rstrip("/")


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
    if not re.fullmatch(r"[0-9]{1,16}" if whole else r"[0-9]{1,9}(\.[0-9]{1,6})?", text.strip()):
        raise wrong(name, text, accepted)
    value = float(text)
    if not low <= value <= high:
        raise wrong(name, text, accepted)
    return value


def wrong(name: str, value: str, accepted: str) -> ConfigurationError:
    """The error for a setting that is not accepted: its name, its value, what is.

    Of an address the value is scheme, host and path: the rest may be a password or a key.
    """
    is_path = value.startswith(("/", ".", "~"))
    shown = shown_url(value) if "://" in value or ("@" in value and not is_path) else value
    return ConfigurationError(f"{name}={quoted(shown)} is not accepted: accepted is {accepted}")
