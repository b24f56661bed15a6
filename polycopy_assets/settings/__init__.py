"""The settings: names, defaults, and what is accepted. Reads a mapping, never the environment."""

import re
from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings.boards import (
    DEFAULT_LEADERBOARD,
    LEADERBOARD,
    MARKETS,
    MOST,
    WANTED,
    markets_url,
    parse_boards,
)
from polycopy_assets.settings.checked import (
    API_KEY,
    check_certificates,
    clean_key,
    refuse_credentials,
)
from polycopy_assets.settings.feeds import DEFAULT_FEEDS, FEEDS, WITHOUT, parse_feeds, parse_without
from polycopy_assets.settings.instance import InstanceKind, instance_kind
from polycopy_assets.settings.memory import DEFAULT_MEMORY, LEAST_MEMORY, MEMORY, MOST_MEMORY
from polycopy_assets.settings.names import check_names
from polycopy_assets.settings.parse import (
    DEFAULT_ROUTE_LIMITS,
    ROUTE_LIMITS,
    directory,
    emulator,
    is_url,
    number,
    one_of,
    parse_bucket,
    parse_dataset,
    parse_rate_limit,
    parse_route_limits,
    wrong,
)
from polycopy_assets.settings.proxy import proxy_variable
from polycopy_assets.settings.shared import SHARED, UMASKS, WORDS, Shared

SourceKind = Literal["polymarket", "dome"]
LoadVia = Literal["job", "dts"]
AdoptWord = Literal["verified", "never", "refetch"]
KINDS: tuple[SourceKind, ...] = get_args(SourceKind)
ADOPT: tuple[AdoptWord, ...] = get_args(AdoptWord)
"""The words for `ledger.kinds.Adopt` in the environment."""

LOAD_VIA: tuple[LoadVia, ...] = get_args(LoadVia)
SOURCES: Mapping[SourceKind, str] = {
    "polymarket": "https://data-api.polymarket.com",
    "dome": "https://api.domeapi.io/v1",
}
"""The public base URL of each source."""

DEFAULT_HOME = ".polycopy/dagster"
DEFAULT_STORE = ".polycopy/store"
DEFAULT_WAREHOUSE = ".polycopy/warehouse.duckdb"
DEFAULT_RATE_LIMIT = "200/10"
DEFAULT_MAX_LAG = 3600
DEFAULT_LATE_HOURS = 24
SEGMENT_BYTES = 7_500_000
"""The default and the maximum. A test checks that the core has the same number."""

DEFAULT_MAX_BYTES_BILLED = 10_000_000_000

_DTS_CONFIG = re.compile(r"projects/[a-z0-9.:-]+(/locations/[a-z0-9-]+)?/transferConfigs/[\w-]+")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings but the secrets, which stay in the environment (see `needs_api_key`).

    `proxy` is the name of the variable that holds the proxy to the source, with its password.
    `rate_limit` and `route_limits` are as written; `timeout` seconds; `segment_bytes` bytes;
    `max_lag` seconds; `memory` MB; `max_bytes_billed` bytes a query; `bigquery_emulator` is empty
    for the real BigQuery; `instance` says where Dagster's record is, not the URL of the database;
    `leaderboard` is as written, `leaderboard_wanted` the last rank on it that is wanted (0: none);
    `feeds` are the names of the feeds that are collected, in the order of the work for them,
    `activity_without` the types of activity that are left out.
    """

    source: SourceKind = "polymarket"
    source_url: str = SOURCES["polymarket"]
    proxy: str = ""
    rate_limit: str = DEFAULT_RATE_LIMIT
    route_limits: str = DEFAULT_ROUTE_LIMITS
    concurrency: int = 16
    timeout: float = 30.0
    segment_bytes: int = SEGMENT_BYTES
    store: str = DEFAULT_STORE
    warehouse: str = DEFAULT_WAREHOUSE
    max_bytes_billed: int = DEFAULT_MAX_BYTES_BILLED
    load_via: LoadVia = "job"
    dts_config: str = ""
    adopt: AdoptWord = ADOPT[0]
    late_hours: int = DEFAULT_LATE_HOURS
    max_lag: int = DEFAULT_MAX_LAG
    memory: int = DEFAULT_MEMORY
    shared: Shared = WORDS[0]
    bigquery_emulator: str = ""
    instance: InstanceKind = "files"
    home: str = DEFAULT_HOME
    markets_url: str = MARKETS
    leaderboard: str = DEFAULT_LEADERBOARD
    leaderboard_wanted: int = 0
    feeds: tuple[str, ...] = (DEFAULT_FEEDS,)
    activity_without: tuple[str, ...] = ()

    @property
    def needs_api_key(self) -> bool:
        """Whether the source wants DOME_API_KEY."""
        return self.source == "dome"

    @property
    def umask(self) -> int:
        """The umask for new files and directories."""
        return UMASKS[self.shared]


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings that `environ` holds; raises ConfigurationError naming the wrong one."""
    check_names(environ)
    check_certificates(environ)
    source = one_of(environ, "POLYCOPY_SOURCE", KINDS)
    if source == "dome" and not clean_key(environ.get(API_KEY, "")):
        raise ConfigurationError(
            f"{API_KEY} is not set: POLYCOPY_SOURCE='dome' needs the API key of the gateway"
        )
    url = (environ.get("POLYCOPY_SOURCE_URL") or SOURCES[source]).rstrip("/")
    if not is_url(url):
        raise wrong("POLYCOPY_SOURCE_URL", url, "http://HOST[:PORT][/PATH] or https://…")
    refuse_credentials("POLYCOPY_SOURCE_URL", url)
    rate_limit = environ.get("POLYCOPY_RATE_LIMIT") or DEFAULT_RATE_LIMIT
    parse_rate_limit(rate_limit)
    route_limits = environ.get(ROUTE_LIMITS) or DEFAULT_ROUTE_LIMITS
    parse_route_limits(route_limits)
    store = environ.get("POLYCOPY_STORE") or DEFAULT_STORE
    warehouse = environ.get("POLYCOPY_WAREHOUSE") or DEFAULT_WAREHOUSE
    if parse_bucket(store) is None and "://" in store:
        raise wrong("POLYCOPY_STORE", store, "the path of a directory, or gs://BUCKET[/PREFIX]")
    # DuckDB puts its log beside what stands before a `?`.
    if parse_dataset(warehouse) is None and ("://" in warehouse or "?" in warehouse):
        raise wrong(
            "POLYCOPY_WAREHOUSE",
            warehouse,
            "the path of a DuckDB file, without `?`, or bigquery://PROJECT/DATASET",
        )
    for name, path in (("POLYCOPY_STORE", store), ("POLYCOPY_WAREHOUSE", warehouse)):
        directory(name, path)
    if parse_dataset(warehouse) and not parse_bucket(store):
        raise wrong(
            "POLYCOPY_STORE", store, "gs://BUCKET[/PREFIX], because BigQuery loads from there"
        )
    load_via = one_of(environ, "POLYCOPY_LOAD_VIA", LOAD_VIA)
    dts_config = environ.get("POLYCOPY_DTS_CONFIG") or ""
    if (dts_config or load_via == "dts") and not _DTS_CONFIG.fullmatch(dts_config):
        raise wrong(
            "POLYCOPY_DTS_CONFIG",
            dts_config,
            "projects/PROJECT/locations/LOCATION/transferConfigs/ID, which POLYCOPY_LOAD_VIA=dts"
            " needs",
        )
    adopt = one_of(environ, "POLYCOPY_ADOPT", ADOPT)
    leaderboard = environ.get(LEADERBOARD) or DEFAULT_LEADERBOARD
    parse_boards(leaderboard)
    return Settings(
        source=source,
        source_url=url,
        proxy=proxy_variable(environ, url),
        rate_limit=rate_limit,
        route_limits=route_limits,
        concurrency=int(number(environ, "POLYCOPY_CONCURRENCY", 16, 1, 1000, whole=True)),
        timeout=number(environ, "POLYCOPY_TIMEOUT", 30.0, 0.1, 600.0),
        segment_bytes=int(
            number(
                environ,
                "POLYCOPY_SEGMENT_BYTES",
                SEGMENT_BYTES,
                1,
                SEGMENT_BYTES,
                whole=True,
            )
        ),
        store=store,
        warehouse=warehouse,
        max_bytes_billed=int(
            number(
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
            number(environ, "POLYCOPY_LATE_HOURS", DEFAULT_LATE_HOURS, 1, 8760, whole=True)
        ),
        max_lag=int(number(environ, "POLYCOPY_MAX_LAG", DEFAULT_MAX_LAG, 0, 10**9, whole=True)),
        memory=int(number(environ, MEMORY, DEFAULT_MEMORY, LEAST_MEMORY, MOST_MEMORY, whole=True)),
        shared=one_of(environ, SHARED, WORDS),
        bigquery_emulator=emulator(environ.get("BIGQUERY_EMULATOR_HOST") or ""),
        instance=instance_kind(environ),
        home=directory("DAGSTER_HOME", environ.get("DAGSTER_HOME") or DEFAULT_HOME),
        markets_url=markets_url(environ, url, public=url == SOURCES["polymarket"]),
        leaderboard=leaderboard,
        leaderboard_wanted=int(number(environ, WANTED, 0, 0, MOST, whole=True)),
        feeds=parse_feeds(environ.get(FEEDS) or DEFAULT_FEEDS, source),
        activity_without=parse_without(environ.get(WITHOUT) or ""),
    )
