"""What docs/operations.md says about restoring, as somebody would do it on the day: by commands.

Each drill counts the requests that reach the source, beside what was lost.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets_tests.deployment import Deployment, sample_api, truth
from polycopy_assets_tests.fakes.postgres import new_database
from polycopy_assets_tests.of_trades import parse_name

pytestmark = pytest.mark.exhaustive

WORLD = generate(61, 12, most_trades=60)
WALLETS = sorted(wallet.lower() for wallet in WORLD.wallets())
MIDDLE = sorted(int(str(trade[1])) for trade in truth(WORLD))[len(truth(WORLD)) // 2]
"""The first backfill sees a feed that ends here; the refresh sees all of it."""


@contextmanager
def kept_for_a_while(root: Path, server: str) -> Iterator[tuple[Deployment, Served, float]]:
    """A deployment with its record in Postgres, after a backfill and a refresh with news.

    With it comes the time of the first object that the refresh wrote.
    """
    with sample_api(WORLD) as served:
        deployment = Deployment(root, served.url, POLYCOPY_INSTANCE=new_database(server))
        deployment.want(WALLETS)
        served.state.lag_seconds = int(time.time()) - MIDDLE
        _succeeds(deployment, "backfill")
        assert deployment.table() < truth(WORLD), "there is nothing left to refresh"
        time.sleep(0.05)
        since = time.time()
        served.state.lag_seconds = 0
        _succeeds(deployment, "backfill", "--refresh")
        assert deployment.table() == truth(WORLD)
        served.state.counts.reset()
        yield deployment, served, since
        assert deployment.table() == truth(WORLD)
        _is_settled(deployment)


def _succeeds(deployment: Deployment, *arguments: str) -> str:
    ended = deployment.polycopy(*arguments)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _is_settled(deployment: Deployment) -> None:
    found = json.loads(_succeeds(deployment, "reconcile", "--verify", "--json"))
    assert found["counts"] == {"consistent": len(WALLETS)}
    stands = json.loads(_succeeds(deployment, "status", "--json"))
    assert (stands["complete"], stands["remaining"], stands["failed"]) == (len(WALLETS), 0, 0)
    assert stands["trades"] == stands["table_rows"] == truth(WORLD).total()


def test_the_database_is_lost_and_nothing_is_requested(tmp_path: Path, server: str):
    with kept_for_a_while(tmp_path, server) as (deployment, served, _):
        deployment.environ["POLYCOPY_INSTANCE"] = new_database(server)
        _succeeds(deployment, "init")
        _succeeds(deployment, "reconcile", "--apply")
        _succeeds(deployment, "backfill")
        assert served.state.counts.trade_requests == 0


def test_the_table_is_lost_and_nothing_is_requested(tmp_path: Path, server: str):
    with kept_for_a_while(tmp_path, server) as (deployment, served, _):
        Path(deployment.settings.warehouse).unlink()
        _succeeds(deployment, "backfill")
        assert served.state.counts.trade_requests == 0


def test_the_bucket_lost_its_last_hour_and_just_that_is_requested(tmp_path: Path, server: str):
    with kept_for_a_while(tmp_path, server) as (deployment, served, since):
        lost = _lose_what_is_newer(deployment, since)
        assert lost, "the refresh wrote no segment"
        _succeeds(deployment, "reconcile", "--apply")
        _succeeds(deployment, "backfill")
        asked = Counter(item.wallet for item in served.state.counts.log)
        assert asked.keys() == lost.keys(), "others were asked for than those that lost something"
        for item in served.state.counts.log:
            assert item.start >= lost[item.wallet], "more was requested than what was lost"


def test_without_a_database_there_is_none_to_lose_and_nothing_is_requested(
    tmp_path: Path, server: str
):
    with kept_for_a_while(tmp_path, server) as (deployment, served, _):
        deployment.environ["POLYCOPY_INSTANCE"] = "ephemeral"
        _succeeds(deployment, "backfill")
        assert served.state.counts.trade_requests == 0


def _lose_what_is_newer(deployment: Deployment, since: float) -> dict[str, int]:
    """Deletes every object that was made after `since`; from when on each wallet lost something."""
    store, lost = Path(deployment.settings.store), {}
    for path in [each for each in store.rglob("*") if each.is_file()]:
        if path.stat().st_mtime < since:
            continue
        if named := parse_name(path.relative_to(store).as_posix()):
            wallet, span = named
            lost[wallet] = min(span.start, lost.get(wallet, span.start))
        path.unlink()
    return lost
