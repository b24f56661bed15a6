"""What an event costs: in our event log, beside Dagster's own, and written in batches.

The same materializations three times: yielded by a step of a run, on our event log and on the one
that Dagster has by itself; reported one by one through Dagster's public interface; and written in
batches, as a reconciliation does it. SQLite, no requests beside it.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import dagster as dg

from benchmarks.bench import bench, kept
from benchmarks.figures import Figure
from polycopy_assets.record.instance import opened
from polycopy_assets.record.partitions import wallets_partitions
from polycopy_assets.record.private import runless
from polycopy_assets_tests.of_trades import KEYS

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Size(NamedTuple):
    """Events and rounds."""

    events: int
    rounds: int


SIZES = {"full": Size(2_000, 3), "quick": Size(300, 2), "smoke": Size(20, 1)}


def events(number: int) -> list[dg.AssetMaterialization]:
    """Materializations of made-up wallets."""
    return [
        dg.AssetMaterialization(KEYS.wallets, partition=f"0x{n:040x}", metadata={"rows": n})
        for n in range(number)
    ]


def in_a_run(instance: dg.DagsterInstance, made: list[dg.AssetMaterialization]) -> float:
    """Seconds to yield them all from a step; the run's own start and end are in it."""

    @dg.asset(name="wallet_trades", partitions_def=wallets_partitions, output_required=False)
    def recording() -> Iterator[dg.AssetMaterialization]:
        yield from made

    definitions = dg.Definitions(
        assets=[recording], jobs=[dg.define_asset_job("record", selection=["wallet_trades"])]
    )
    started = time.perf_counter()
    definitions.resolve_job_def("record").execute_in_process(instance=instance, run_config=QUIET)
    return time.perf_counter() - started


def one_by_one(instance: dg.DagsterInstance, made: list[dg.AssetMaterialization]) -> float:
    """Seconds to report them through Dagster's public interface."""
    started = time.perf_counter()
    for each in made:
        instance.report_runless_asset_event(each)
    return time.perf_counter() - started


def in_batches(instance: dg.DagsterInstance, made: list[dg.AssetMaterialization]) -> float:
    """Seconds to write them in batches."""
    started = time.perf_counter()
    for _ in runless.write(instance, made):
        pass
    return time.perf_counter() - started


def measure(size: Size, work: Path) -> Iterator[Figure]:
    """Milliseconds an event, each way beside its baseline."""
    made, scale = events(size.events), 1000 / size.events
    run, plain, single, batched = [], [], [], []
    with kept():
        for number in range(size.rounds):
            home = work / f"plain-{number}"
            home.mkdir()
            (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
            with dg.DagsterInstance.from_config(str(home)) as instance:
                plain.append(scale * in_a_run(instance, made))
            with opened(str(work / f"ours-{number}")) as instance:
                run.append(scale * in_a_run(instance, made))
                single.append(scale * one_by_one(instance, made))
                batched.append(scale * in_batches(instance, made))
    yield Figure(
        what="an event of a run, in our event log",
        unit="ms",
        samples=run,
        baseline="in Dagster's own",
        against=plain,
    )
    yield Figure(
        what="an event without a run, in batches",
        unit="ms",
        samples=batched,
        baseline="one by one",
        against=single,
    )


if __name__ == "__main__":
    bench("record", SIZES, measure)
