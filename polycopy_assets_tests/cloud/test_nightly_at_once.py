"""Nightly jobs that start at the same time: one Postgres database, bucket and dataset, two homes.

As when a scheduler starts the job twice, or somebody starts it by hand beside the scheduled one.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.system.interrupt import TO_BE_CONTINUED
from polycopy_assets_tests.cloud.google import GoogleDeployment
from polycopy_assets_tests.deployment import new_trades, sample_api, truth
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.fakes.postgres import new_database

DAY, HOUR = 86_400, 3_600
WALLETS = 30
WORLD = generate(191, WALLETS, most_trades=5)


class Nightly(NamedTuple):
    """The nightly job, as a process; `log` is what it says to people."""

    process: subprocess.Popen[str]
    log: Path

    def ended(self) -> Any:
        """Its report, once it has ended."""
        return json.loads(self.process.communicate(timeout=300)[0])

    @property
    def waits(self) -> bool:
        """Whether it has said that it waits for a run."""
        return "Waiting for run" in self.log.read_text()


@contextmanager
def nightly(deployment: GoogleDeployment, home: str, limit: str) -> Iterator[Nightly]:
    """The job, with a home that has nothing but its name."""
    options = ("--refresh", "--older-than", "20h", "--for", limit, "--json")
    log = deployment.root / f"{home}.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "polycopy_assets", "backfill", *options],
            env={**deployment.process_environ(), "DAGSTER_HOME": str(deployment.root / home)},
            cwd=deployment.root,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
    try:
        yield Nightly(process, log)
    finally:
        process.kill()
        process.wait()


def until(reached: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.timeout(900)
def test_one_nightly_job_fetches_and_the_others_wait_or_end_to_be_continued(
    tmp_path: Path, gcs: GCS, double: Double, server: str
):
    wallets = [wallet.lower() for wallet in WORLD.wallets()]
    with sample_api(WORLD, lag_seconds=DAY) as served, ExitStack() as stack:
        deployment = GoogleDeployment(
            tmp_path,
            served.url,
            gcs,
            double.url,
            POLYCOPY_INSTANCE=new_database(server),
            POLYCOPY_CONCURRENCY="1",
            POLYCOPY_TIMEOUT="60",
        )
        deployment.want(wallets)
        assert deployment.backfill().complete == WALLETS
        news = Counter({wallet: 2 + number for number, wallet in enumerate(wallets[:5])})
        for wallet, count in news.items():
            WORLD.add(new_trades(wallet, int(time.time()) - 12 * HOUR, count))
        served.state.lag_seconds = 5
        served.state.counts.reset()

        served.state.latency = 5.0  # so that it fetches until the impatient one has ended
        both = [stack.enter_context(nightly(deployment, home, "50m")) for home in ("a", "b")]
        until(lambda: served.state.counts.trade_requests, "no job has begun to fetch")
        until(lambda: any(each.waits for each in both), "no job waits for the other")
        with nightly(deployment, "c", "3s") as impatient:
            ended = impatient.ended()
        assert served.state.counts.trade_requests < WALLETS, "nobody was fetching any more"
        assert impatient.process.returncode == TO_BE_CONTINUED, impatient.log.read_text()
        assert (ended["requests"], ended["trades_fetched"]) == (0, 0)
        assert ended["left"] > 0
        served.state.latency = 0.0
        ends = [each.ended() for each in both]
        assert [each.process.returncode for each in both] == [0, 0], ends

        asked = dict(served.state.counts.requests)
        assert asked == dict.fromkeys(wallets, 1), "each wallet is requested once, by one of them"
        assert +Counter(served.state.counts.rows) == news
        assert sorted(each["trades_fetched"] for each in ends) == [0, news.total()]
        assert [each.waits for each in both].count(True) == 1
        assert deployment.table() == truth(WORLD)
        assert deployment.backfill().failed_checks == []
