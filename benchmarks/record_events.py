"""What it costs to record a wallet: events written one by one, and in batches.

Each figure is the median over several rounds within one run of a small asset, with the record of a
wallet of one segment. Singly is Dagster's own `context.log_event`, the baseline. Postgres is
measured if the development packages are installed; its server runs on this machine, and
does not wait for the disk.

    PYTHONPATH=. python benchmarks/record_events.py
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import yaml

from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.record import materializations
from polycopy_assets.record.instance import opened
from polycopy_assets.record.partitions import register, wallets_partitions
from polycopy_assets.record.step_events import log_event, log_materializations
from polycopy_assets.settings.instance import INSTANCE
from polycopy_assets.trades.segment import Segment
from polycopy_assets_tests.of_trades import KEYS

EVENTS = 400
ROUNDS = 5
SIZES = (10, 50, 200)
WALLETS = [f"0x{number:040x}" for number in range(EVENTS)]

Write = Callable[[dg.AssetExecutionContext, list[dg.AssetMaterialization]], None]


def singly(context: dg.AssetExecutionContext, events: list[dg.AssetMaterialization]) -> None:
    """Writes each event by itself."""
    for event in events:
        log_event(context, event)


def in_batches(size: int) -> Write:
    """Writes so many events at once."""

    def write(context: dg.AssetExecutionContext, events: list[dg.AssetMaterialization]) -> None:
        for start in range(0, len(events), size):
            log_materializations(context, events[start : start + size])

    return write


WAYS: dict[str, Write] = {"singly": singly} | {
    f"{size} at once": in_batches(size) for size in SIZES
}


def event_of(wallet: str) -> dg.AssetMaterialization:
    """The record of a wallet with one segment of ten trades."""
    segment = Segment(
        folder="trades/",
        wallet=wallet,
        start=0,
        until=1_700_000_000,
        rows=10,
        size=2_000,
        crc32c="00000000",
        first=1_600_000_000,
        last=1_650_000_000,
        source="polymarket",
        digest="0" * 16,
    )
    fetched = Fetched(
        wallet=wallet,
        source="polymarket",
        segments=(segment,),
        covered_until=1_700_000_000,
        new_rows=10,
        requests=1,
        unknown_fields={},
        seconds=0.1,
    )
    version, metadata = materializations.describe(fetched)
    return materializations.materialization(TRADES, wallet, version, metadata)


@dg.asset(key=KEYS.wallets, partitions_def=wallets_partitions)
def measured(context: dg.AssetExecutionContext) -> None:
    """Prints milliseconds an event: wall, and user and system time of this process."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, write in WAYS.items():
            events = [event_of(wallet) for wallet in WALLETS]
            wall, cpu = time.perf_counter(), time.process_time()
            write(context, events)
            found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    baseline = statistics.median(wall for wall, _ in found["singly"])
    for name, times in found.items():
        walls = sorted(wall / EVENTS * 1000 for wall, _ in times)
        cpu = statistics.median(cpu for _, cpu in times) / EVENTS * 1000
        middle = statistics.median(walls)
        print(
            f"  {name:12} {middle:7.2f} ms an event ({walls[0]:.2f} to {walls[-1]:.2f}),"
            f" {cpu:.2f} ms CPU, {middle * EVENTS / 1000 / baseline:.3f} of singly"
        )


@contextmanager
def kept_at(home: str, config: dict[str, object] | None) -> Iterator[dg.DagsterInstance]:
    """An instance at `home`; None: as `polycopy init` makes it."""
    if config is None:
        with opened(home) as instance:
            yield instance
        return
    Path(home, "dagster.yaml").write_text(yaml.safe_dump(config))
    with dg.DagsterInstance.from_config(home) as instance:
        yield instance


def measure(title: str, config: dict[str, object] | None) -> None:
    """Runs the asset once on a new instance."""
    print(title)
    with tempfile.TemporaryDirectory() as home, kept_at(home, config) as instance:
        register(instance, WALLETS)
        dg.materialize([measured], instance=instance, partition_key=WALLETS[0])


def main() -> None:
    """Measures each kind of instance."""
    print(f"{platform.platform()}, {os.cpu_count()} cores; {EVENTS} events, {ROUNDS} rounds")
    measure("SQLite, as `polycopy init` makes it", None)
    measure("SQLite, Dagster's own storage", {"telemetry": {"enabled": False}})
    with ExitStack() as stack:
        try:
            from polycopy_assets_tests.fakes.postgres import (  # noqa: PLC0415
                new_database,
                postgres,
            )

            url = stack.enter_context(postgres())
        except (ImportError, OSError) as error:
            print(f"Postgres: not measured ({error})")
            return
        config = {"postgres": {"postgres_url": url.replace("postgresql:", "postgresql+psycopg2:")}}
        measure(
            "Postgres, Dagster's own storage", {"telemetry": {"enabled": False}, "storage": config}
        )
        database = new_database(url)
        with patch.dict(os.environ, {INSTANCE: database}):
            measure("Postgres, as `polycopy init` makes it", None)


if __name__ == "__main__":
    main()
