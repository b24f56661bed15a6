"""Nightly jobs that start at the same time: one Postgres database, bucket and dataset, two homes.

As when a scheduler starts the job twice, or somebody starts it by hand beside the scheduled one.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.system.interrupt import TO_BE_CONTINUED
from polycopy_assets_tests.cloud.google import GoogleDeployment
from polycopy_assets_tests.deployment import new_trades, sample_api, truth
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.fakes.postgres import new_database

DAY, HOUR = 86_400, 3_600
WALLETS = 30
WORLD = generate(191, WALLETS, most_trades=5)


@contextmanager
def nightly(deployment: GoogleDeployment, home: str, limit: str) -> Iterator[subprocess.Popen[str]]:
    """The nightly job, as a process whose home has nothing but its name."""
    options = ("--refresh", "--older-than", "20h", "--for", limit, "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "polycopy_assets", "backfill", *options],
        env={**deployment.process_environ(), "DAGSTER_HOME": str(deployment.root / home)},
        cwd=deployment.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for_requests(served: Served) -> None:
    deadline = time.monotonic() + 300
    while not served.state.counts.trade_requests:
        assert time.monotonic() < deadline, "no job has begun to fetch"
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
        wait_for_requests(served)
        with nightly(deployment, "c", "3s") as impatient:
            said, errors = impatient.communicate(timeout=300)
        assert served.state.counts.trade_requests < WALLETS, "nobody was fetching any more"
        assert impatient.returncode == TO_BE_CONTINUED, errors
        ended = json.loads(said)
        assert (ended["requests"], ended["trades_fetched"]) == (0, 0)
        assert ended["left"] > 0
        served.state.latency = 0.0
        ends = [process.communicate(timeout=300) for process in both]
        assert [process.returncode for process in both] == [0, 0], ends

        asked = dict(served.state.counts.requests)
        assert asked == dict.fromkeys(wallets, 1), "each wallet is requested once, by one of them"
        assert +Counter(served.state.counts.rows) == news
        fetched = [json.loads(out)["trades_fetched"] for out, _ in ends]
        assert sorted(fetched) == [0, news.total()]
        waited = [err for _, err in ends if "Waiting for run" in err]
        assert len(waited) == 1, ends
        assert deployment.table() == truth(WORLD)
        assert deployment.backfill().failed_checks == []
