"""A wallet whose answers are slow, huge, endless or odd fails alone, by name, in bounded time."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import stamina

from polycopy_assets.demo.bad_answers import BAD_ANSWERS
from polycopy_assets.demo.endless import ENDLESS
from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.guard import heartbeat
from polycopy_assets.sources.body import PAGE_BYTES
from polycopy_assets.sources.http import LONGEST_WHOLE
from polycopy_assets.trades.bounds import THIN_PAGES
from polycopy_assets_tests.deployment import Deployment, sample_api, truth

pytestmark = pytest.mark.exhaustive

TIMEOUT = 0.4
"""Seconds of silence; an answer may then take four of them, and three may be too slow."""

EXPECTED = {
    "slow_body": "transient: trades of WALLET before",
    "gzip_bomb": "contract: trades of WALLET before",
    "too_long": "contract: trades of WALLET before",
    "broken_json": "contract: trades of WALLET before",
    "broken_gzip": "contract: trades of WALLET before",
    "odd_retry_after": "transient: trades of WALLET before",
    "odd_text": "permanent: trades of WALLET before",
    "endless_pages": "contract: 1",
    "tiny_pages": "contract: 1",
    "crowded_second": "contract: 2",
    **dict.fromkeys(("broken_text", "text_for_time", "huge_time"), "contract: row 0 of a page"),
}
"""How the failure of each begins; the last three are odd rows, of which the others fail nobody."""


@pytest.fixture
def no_waits() -> Iterator[None]:
    """Eight attempts without the waits in between."""
    with stamina.set_testing(True, attempts=8):
        yield


@contextmanager
def api(wallets: int, seed: int, **options: float) -> Iterator[Served]:
    faults = Faults(seed, slow_seconds=0.05, **options)  # type: ignore[arg-type]
    with sample_api(generate(seed, wallets, whales=0, most_trades=20), faults=faults) as served:
        yield served


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.usefixtures("no_waits")
def test_one_wallet_with_such_answers_fails_by_name_and_all_others_are_in_the_table(
    tmp_path: Path, kind: str
):
    assert EXPECTED.keys() >= {*BAD_ANSWERS, *ENDLESS}
    with api(30, 71, bomb_bytes=100_000_000) as served:
        wallets = served.state.world.wallets()
        first = next(each for each in wallets if served.state.world.truth(each))
        others = [each for each in wallets if each != first]
        served.state.faults.set_wallets({first: kind})
        deployment = Deployment(tmp_path, served.url, POLYCOPY_TIMEOUT=str(TIMEOUT))
        deployment.want([first, *others])
        report = deployment.backfill()
        assert served.state.counts.requests[first.lower()] < 2 * THIN_PAGES, "it did not give up"
        assert served.state.faults.counts[kind] > 0
        (failure,) = report.failures
        assert failure.wallet == first.lower()
        assert failure.reason.startswith(EXPECTED[kind].replace("WALLET", first.lower()))
        assert failure.reason.isprintable()
        assert len(failure.reason) < 1000
        assert deployment.table() == truth(served.state.world, others)
        # Every other wallet arrived, and the next run asks for the failed one alone.
        served.state.faults.set_wallets({})
        assert deployment.backfill().failures == []
        if kind in ENDLESS:  # what it served before the bound was reached has been kept
            with deployment.instance() as instance:
                assert not deployment.fetch(instance, wallets=[first.lower()], mode="full").failures
                deployment.load(instance)
        assert deployment.table() == truth(served.state.world)


# A refusal, `odd_text`, is final at once.
@pytest.mark.parametrize("kind", [kind for kind in BAD_ANSWERS if kind != "odd_text"])
@pytest.mark.usefixtures("no_waits")
def test_such_answers_now_and_then_cost_nothing_but_attempts(tmp_path: Path, kind: str):
    with api(5, 72, bomb_bytes=30_000_000) as served:
        served.state.faults.set({kind: 0.2})
        deployment = Deployment(tmp_path, served.url, POLYCOPY_TIMEOUT="0.2")
        deployment.want(served.state.world.wallets())
        for _ in range(4):
            if not deployment.backfill().failures and served.state.faults.counts[kind]:
                break
            served.state.faults.set({kind: 0.2})
        assert deployment.table() == truth(served.state.world)


@pytest.mark.usefixtures("no_waits")
def test_answers_that_are_broken_the_same_way_do_not_count_the_source_as_down(tmp_path: Path):
    with api(60, 74) as served:
        *broken, last = served.state.world.wallets()
        served.state.faults.set_wallets(dict.fromkeys(broken, "broken_json"))
        deployment = Deployment(tmp_path, served.url, POLYCOPY_CONCURRENCY="2")
        deployment.want([*broken, last])
        report = deployment.backfill()
        assert len(report.failures) == len(broken)
        assert {each.reason.split(":")[0] for each in report.failures} == {"contract"}
        assert deployment.table() == truth(served.state.world, [last])


def test_a_slow_answer_ends_long_before_a_fetch_counts_as_dead():
    # Each attempt is a request, and each request is a sign of life.
    assert LONGEST_WHOLE + 120 < heartbeat.STALLED_SECONDS


def test_a_slow_wallet_does_not_end_the_process_that_watches_itself(tmp_path: Path):
    watchful = (
        "from polycopy_assets.guard import heartbeat as h;"
        " h.BEAT_SECONDS, h.STALLED_SECONDS = .2, 4"
    )
    with api(5, 76) as served:
        first, *others = served.state.world.wallets()
        served.state.faults.set_wallets({first: "slow_body"})
        deployment = Deployment(tmp_path, served.url, POLYCOPY_TIMEOUT="0.6")
        deployment.want([first, *others])
        done = deployment.polycopy("backfill", first=watchful, timeout=60)
        assert done.returncode == 1, done.stderr
        assert f"failed: {first.lower()}: transient: " in done.stderr
        assert "did not end within 2.4 s" in done.stderr
        assert deployment.table() == truth(served.state.world, others)


def child(code: str, *args: str, environ: Mapping[str, str], timeout: float = 100) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", code, *args],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return ended.stdout


_READ = """
import asyncio, resource, sys
from polycopy_assets.errors import SourceError
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.http import Http

async def main():
    async with Http(sys.argv[1], windows=[Window(100, 1)], concurrency=4, timeout=20) as http:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        params = {"user": sys.argv[2], "start": 1}
        answers = [http.get("/v2/trades", params, "it") for _ in range(4)]
        for error in await asyncio.gather(*answers, return_exceptions=True):
            assert isinstance(error, SourceError), error
            print(type(error).__name__, error, file=sys.stderr)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["gzip_bomb", "too_long"])
def test_a_body_of_a_gigabyte_and_a_half_takes_no_more_memory_than_the_cap(kind: str):
    with api(1, 75) as served:
        (wallet,) = served.state.world.wallets()
        served.state.faults.set_wallets({wallet: kind})
        grown = int(child(_READ, served.url, wallet, environ={})) * 1024
        # Four at once, and each is copied once.
        assert grown < 4 * 3 * PAGE_BYTES
        assert served.state.counts.trade_requests == 4 * 3, "four at once, each tried three times"
