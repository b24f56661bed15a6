"""A deployment in a temporary directory, and what its table must hold."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import dagster as dg
import duckdb
import msgspec

from polycopy_assets.assembly import build
from polycopy_assets.cli import polycopy
from polycopy_assets.cli.backfill import backfill
from polycopy_assets.cli.backfill_report import BackfillReport
from polycopy_assets.cli.instance import open_instance
from polycopy_assets.cli.runs import run_job, why_failed
from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served, serve
from polycopy_assets.demo.state import State
from polycopy_assets.demo.world import Trade, World
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import Job
from polycopy_assets.pipeline.ports import FetchReport
from polycopy_assets.record import fetch_reports, materializations
from polycopy_assets.record.partitions import register
from polycopy_assets.resources.chosen import open_warehouse
from polycopy_assets.settings import Settings, read_settings
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests import forks
from polycopy_assets_tests.bench import in_duckdb
from polycopy_assets_tests.fakes.postgres import SERVER, database_of, new_database
from polycopy_assets_tests.of_trades import KEYS, Directory, record_in

INSTANCE = "POLYCOPY_TEST_INSTANCE"
"""`postgres` or `ephemeral`: how every deployment keeps its Dagster instance, if not in files."""

_MAIN = "from polycopy_assets.__main__ import main; main()"

Trades = Counter[tuple[object, ...]]


class Deployment:
    """Settings, store, table and record below one directory, with `url` as the source."""

    def __init__(self, root: Path, url: str, **settings: str) -> None:
        self.root = root
        self.environ = {
            "POLYCOPY_SOURCE_URL": url,
            "POLYCOPY_RATE_LIMIT": "100000/1",
            "POLYCOPY_STORE": str(root / "store"),
            "POLYCOPY_WAREHOUSE": str(root / "warehouse.duckdb"),
            "POLYCOPY_TIMEOUT": "2",
            # Time passes by a feed that trails less and less.
            "POLYCOPY_MAX_LAG": "1000000000",
            "DAGSTER_HOME": str(root / "dagster"),
            **settings,
        }
        if os.environ.get(INSTANCE) == "ephemeral":
            self.environ.setdefault("POLYCOPY_INSTANCE", "ephemeral")
        elif server := os.environ.get(SERVER):
            home = self.environ["DAGSTER_HOME"]
            self.environ.setdefault("POLYCOPY_INSTANCE", database_of(server, home))

    @property
    def settings(self) -> Settings:
        """The settings as the package reads them."""
        return read_settings(self.environ)

    @property
    def store(self) -> FeedStore:
        """The store."""
        return Directory(Path(self.settings.store))

    @property
    def warehouse(self) -> DuckDBWarehouse:
        """The warehouse."""
        return DuckDBWarehouse(Path(self.settings.warehouse))

    @property
    def feed_table(self) -> DuckDBTable:
        """The table `trades`."""
        return self.warehouse.table(TRADES)

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """The Dagster instance."""
        with patch.dict(os.environ, self.environ), open_instance(self.settings) as instance:
            yield instance

    def lose_record(self) -> None:
        """Loses Dagster's record, wherever it is kept: what is opened next has none.

        Its wallets are registered no more. Without a database, the snapshots in the store are lost.
        """
        shutil.rmtree(self.settings.home, ignore_errors=True)
        if self.settings.instance == "postgres":
            self.environ["POLYCOPY_INSTANCE"] = new_database(self.environ["POLYCOPY_INSTANCE"])
        elif self.settings.instance == "ephemeral":
            for item in list(self.store.list(TRADES.names.snapshots)):
                self.store.delete(item.name)

    def copied(self, root: Path, url: str) -> "Deployment":
        """A copy of all of it below `root`, also of a record in Postgres; nothing may be open."""
        shutil.copytree(self.root, root, dirs_exist_ok=True)
        copy = Deployment(root, url)
        if self.settings.instance == "postgres":
            kept = self.environ["POLYCOPY_INSTANCE"]
            copy.environ["POLYCOPY_INSTANCE"] = new_database(kept, kept.rpartition("/")[2])
        return copy

    def want(self, wallets: Sequence[str]) -> None:
        """Puts wallets into `traders` and registers them."""
        open_warehouse(self.settings, "traders").add_traders([wallet.lower() for wallet in wallets])
        with self.instance() as instance:
            register(instance, wallets)

    def backfill(self, *, refresh: bool = False) -> BackfillReport:
        """A backfill in this process."""
        with self.instance() as instance:
            return backfill(
                instance, self.settings, refresh=refresh, progress=Progress(), say=lambda text: None
            )

    def fetch(self, instance: dg.DagsterInstance, **config: object) -> FetchReport:
        """Fetches in this process, as a run of the job `fetch` with this configuration."""
        result = run_job(instance, self.settings, Job.FETCH, config, Progress())
        report = fetch_reports.read(record_in(instance), result.run_id)
        assert report, why_failed(result)
        return report

    def load(self, instance: dg.DagsterInstance, **config: object) -> None:
        """Combines and loads in this process, as a run of the job `load` that ends well."""
        result = run_job(instance, self.settings, Job.LOAD, config, Progress())
        assert result.success, why_failed(result)
        assert all(each.passed for each in result.get_asset_check_evaluations())

    def process_environ(self) -> dict[str, str]:
        """The environment of a process of this deployment, without settings of the machine."""
        own = ("POLYCOPY_", "DAGSTER_", "DOME_")
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(own) and not name.lower().endswith("_proxy")
        }
        return {**inherited, **self.environ}

    def polycopy(
        self,
        *args: str,
        environ: Mapping[str, str] | None = None,
        first: str = "",
        timeout: float = 240,
        new: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Runs the command as a process of its own, in which the code `first` runs first.

        With `new` it has imported nothing before.
        """
        own = {**self.process_environ(), **(environ or {})}
        if not new:
            return forks.run(args, environ=own, cwd=self.root, first=first, timeout=timeout)
        return subprocess.run(
            [sys.executable, "-c", f"{first}\n{_MAIN}", *args],
            env=own,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *args: str, first: str = "") -> forks.Forked:
        """Starts the command as a process of its own, in which the code `first` runs first."""
        return forks.Forked(args, environ=self.process_environ(), cwd=self.root, first=first)

    def here(self, *args: str) -> tuple[int, str]:
        """Runs the command in this process, some seconds faster; exit code and standard output."""
        handler, written, code = signal.getsignal(signal.SIGTERM), io.BytesIO(), 0
        out = io.TextIOWrapper(written, write_through=True)
        try:
            with patch.dict(os.environ, self.process_environ(), clear=True), redirect_stdout(out):
                polycopy.main(args, standalone_mode=False)
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:
            signal.signal(signal.SIGTERM, handler)
        return code, written.getvalue().decode()

    def reconcile(self, *options: str, code: int = 0) -> dict[str, Any]:
        """What `polycopy reconcile --json` says, in this process, if it ends with `code`."""
        ended, said = self.here("reconcile", "--json", *options)
        assert ended == code, said[-2000:]
        return json.loads(said)

    def dagster(self, *args: str, first: str = "") -> subprocess.CompletedProcess[str]:
        """Runs Dagster's own command, in which the code `first` runs first."""
        own = self.process_environ()
        return forks.run(
            args, environ=own, cwd=self.root, first=first, timeout=240, module="dagster"
        )

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a query on the tables, written as for `bench.Sql`."""
        with duckdb.connect(self.settings.warehouse, read_only=True) as db:
            return in_duckdb(db, sql, **parameters).fetchall()

    def execute(self, sql: str, **parameters: Any) -> None:
        """Runs a statement on the tables, past our code, written as for `bench.Sql`."""
        with duckdb.connect(self.settings.warehouse) as db:
            in_duckdb(db, sql, **parameters)

    def table(self) -> Trades:
        """What the table holds, as a multiset."""
        rows = self.rows(
            "SELECT wallet_address, timestamp, tx_hash, token_id, side, price, shares_normalized"
            " FROM {}trades"
        )
        return Counter((row[0], _epoch(row[1]), *row[2:]) for row in rows)


def _epoch(moment: datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def truth(world: World, wallets: Sequence[str] | None = None) -> Trades:
    """What the table must hold, as a multiset."""
    return Counter(
        (t.wallet, t.timestamp, t.tx_hash, t.token_id, t.side, t.price, t.size)
        for wallet in (world.wallets() if wallets is None else wallets)
        for t in world.truth(wallet)
    )


def backfill_job(settings: Settings) -> dg.JobDefinition:
    """The job of a run of Dagster's backfill of `wallet_trades`: the asset, with partitions."""
    every = build(settings).resolve_implicit_global_asset_job_def()
    return every.get_subset(asset_selection={KEYS.wallets})


@contextmanager
def sample_api(world: World, *, faults: Faults | None = None, **options: int) -> Iterator[Served]:
    """The sample API over `world`."""
    with serve(State(world, faults or Faults(), **options)) as served:  # type: ignore[arg-type]
        yield served


class Deployed(Protocol):
    """The fixture `deployed`: a deployment whose source is the sample API over a world.

    Options in capitals are settings of the deployment, the others of the API.
    """

    def __call__(
        self, world: World, **options: Any
    ) -> AbstractContextManager[tuple[Deployment, Served]]:
        """Serves `world` while the context lasts."""
        ...


def records_of(
    instance: dg.DagsterInstance, wallets: Collection[str]
) -> list[materializations.Record]:
    """The latest records of `wallets`, without those that cannot be read."""
    every = record_in(instance).read(wallets)
    return [found for _, found in every if isinstance(found, materializations.Record)]


def new_trades(wallet: str, at: int, count: int) -> list[Trade]:
    """Trades of `wallet` that nobody has served yet, at about the second `at`."""
    some = generate(99, 1, whales=1, whale_trades=10).truth
    template = some(generate(99, 1, whales=1, whale_trades=10).wallets()[0])[0]
    return [
        msgspec.structs.replace(
            template,
            served_wallet=wallet,
            timestamp=at + number // 3,
            sequence=10**8 + number,
            tx_hash=f"0x{at * 1000 + number // 3:064x}",
            log_index=number,
        )
        for number in range(count)
    ]
