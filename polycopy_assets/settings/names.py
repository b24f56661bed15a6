"""The names of our settings, and the error for a name that looks like one but is not."""

import difflib
import re
from collections.abc import Iterable

from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings.boards import LEADERBOARD, MARKETS_URL, WANTED
from polycopy_assets.settings.checked import API_KEY
from polycopy_assets.settings.feeds import FEEDS
from polycopy_assets.settings.feeds import WITHOUT as ACTIVITY_WITHOUT
from polycopy_assets.settings.instance import INSTANCE
from polycopy_assets.settings.memory import MEMORY
from polycopy_assets.settings.parse import ROUTE_LIMITS
from polycopy_assets.settings.shared import SHARED

NAMES = (
    ACTIVITY_WITHOUT,
    "POLYCOPY_ADOPT",
    "POLYCOPY_CONCURRENCY",
    "POLYCOPY_DTS_CONFIG",
    FEEDS,
    INSTANCE,
    "POLYCOPY_LATE_HOURS",
    LEADERBOARD,
    WANTED,
    "POLYCOPY_LOAD_VIA",
    MARKETS_URL,
    "POLYCOPY_MAX_BYTES_BILLED",
    "POLYCOPY_MAX_LAG",
    MEMORY,
    "POLYCOPY_RATE_LIMIT",
    ROUTE_LIMITS,
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
"""Variables of the test suite; nothing else reads them."""

_KUBERNETES = re.compile(
    r"POLYCOPY_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PORT|PROTO|ADDR))?)?)"
)
"""Kubernetes sets these in every pod beside a service whose name begins with `polycopy`."""


def check_names(names: Iterable[str]) -> None:
    """Raises ConfigurationError for a name that looks like a setting of ours but is not."""
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
