"""polycopy as a bench runs it: a process of its own, on files below one directory."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import duckdb
import msgspec

from benchmarks.processes import Ended, run
from polycopy_assets.settings import Settings, read_settings
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

UNLIMITED = "1000000/1"
_YEARS = str(10**9)


def clean_environ() -> dict[str, str]:
    """The environment of this process without its settings of Dagster, polycopy and proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("POLYCOPY_", "DAGSTER_", "DOME_"))
        and not name.lower().endswith("_proxy")
    }


class Deployment:
    """Store, table and Dagster's home below `root`, with the page server at `url` as the source.

    Without a `rate_limit` no request waits. `settings` are further ones, by their names.
    """

    def __init__(
        self, root: Path, url: str, *, rate_limit: str = UNLIMITED, **settings: str
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.home, self.store = root / "dagster", root / "store"
        self.table = root / "warehouse.duckdb"
        self._own = {
            "POLYCOPY_SOURCE_URL": url,
            "POLYCOPY_RATE_LIMIT": rate_limit,
            "POLYCOPY_STORE": str(self.store),
            "POLYCOPY_WAREHOUSE": str(self.table),
            "POLYCOPY_MAX_LAG": _YEARS,
            "DAGSTER_HOME": str(self.home),
            **settings,
        }

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment of a process of this deployment."""
        return {**clean_environ(), **self._own}

    @property
    def settings(self) -> Settings:
        """The settings as the package reads them."""
        return read_settings(self._own)

    def want(self, wallets: Iterable[str]) -> None:
        """Puts wallets into the table `traders`; the next backfill registers them."""
        DuckDBWarehouse(self.table).add_traders(wallets)

    def polycopy(self, *arguments: str, kill_when: Callable[[], bool] | None = None) -> Ended:
        """Runs the command; with `kill_when`, it is killed when that is true."""
        command = [sys.executable, "-m", "polycopy_assets", *arguments]
        return run(command, environ=self.environ, cwd=self.root, kill_when=kill_when)

    def backfill(self, *options: str) -> Ended:
        """Runs `polycopy backfill`; SystemExit if not everything is complete and loaded."""
        return self.polycopy("backfill", "--json", *options).checked()

    def rows(self) -> int:
        """Rows in the table."""
        return count_rows(self.table, "trades")

    def objects(self) -> int:
        """Objects in the store."""
        return sum(path.is_file() for path in self.store.rglob("*"))

    def home_bytes(self) -> int:
        """Bytes of all files of Dagster's home."""
        return sum(path.stat().st_size for path in self.home.rglob("*") if path.is_file())


def count_rows(path: Path, table: str) -> int:
    """Rows of a table of a DuckDB file."""
    with duckdb.connect(str(path), read_only=True) as db:
        return len(db.table(table))


def report(ended: Ended) -> dict[str, float]:
    """The numbers in the JSON that `polycopy backfill` printed."""
    said: dict[str, object] = msgspec.json.decode(ended.out)
    return {name: value for name, value in said.items() if isinstance(value, int | float)}


def must(ok: object, what: str) -> None:
    """Ends the bench if something is not as it must be: its figures would be worthless."""
    if not ok:
        raise SystemExit(f"this must hold, and does not: {what}")
