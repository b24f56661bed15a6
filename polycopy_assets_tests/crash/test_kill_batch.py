"""kill -9 while small wallets are recorded in batches: it loses one batch of records at most."""

import json
import os
import signal
import time
from collections import Counter

import pytest

from polycopy_assets.demo.faults import Asked
from polycopy_assets.demo.generate import generate
from polycopy_assets.fetch.iterate_async import AHEAD
from polycopy_assets.pipeline.fetch import BATCH
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.instances import on_postgres
from polycopy_assets_tests.of_trades import KEYS, record_in

WALLETS = 160
CONCURRENCY = 8

_DIE = """
import os, signal
from polycopy_assets.record.private import event_batches, run_events

real_write, real_insert, left = run_events.write, event_batches._insert, [3]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def write(*batch):
    left[0] -= 1
    if {place!r} == "before" and left[0] == 0:
        die()
    real_write(*batch)
    if {place!r} == "after" and left[0] == 0:
        die()

def insert(connection, rows):
    if {place!r} == "within" and left[0] == 0:
        die()  # on SQLite the run's log has the batch by now
    return real_insert(connection, rows)

run_events.write, event_batches._insert = write, insert
"""


def recorded_once(deployment: Deployment) -> set[str]:
    """The wallets in the record; none may be there twice."""
    with deployment.instance() as instance:
        found = instance.fetch_materializations(KEYS.wallets, limit=1000).records
        # One without a partition has the numbers of all wallets.
        events = Counter(record.partition_key for record in found if record.partition_key)
        assert set(record_in(instance).versions()) == set(events)
    assert set(events.values()) <= {1}
    return set(events)


@pytest.mark.kept
@pytest.mark.parametrize(
    ("place", "kept"),
    [("before", "sqlite"), ("within", "sqlite"), ("after", "sqlite"), ("within", "postgres")],
)
def test_a_batch_that_is_lost_is_found_in_the_store(
    deployed: Deployed, request: pytest.FixtureRequest, place: str, kept: str
):
    world = generate(77, WALLETS, most_trades=20)
    with deployed(world, POLYCOPY_CONCURRENCY=str(CONCURRENCY)) as (deployment, served):
        if kept == "postgres":
            on_postgres(deployment, request.getfixturevalue("server"))
        deployment.want(world.wallets())
        killed = deployment.polycopy("backfill", first=_DIE.format(place=place))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        time.sleep(0.3)  # answers under way
        durable = stored_spans(deployment)
        recorded = recorded_once(deployment)
        assert 0 < len(recorded) <= 3 * BATCH
        lost = durable.keys() - recorded
        assert recorded <= durable.keys()
        assert lost or place == "after", "the batch that was being written is not recorded"
        assert len(lost) <= BATCH + (AHEAD + 1) * CONCURRENCY + 1
        _is_completed(deployment, served.state.counts.log, recorded)
    assert deployment.table() == truth(world)


def _is_completed(deployment: Deployment, log: list[Asked], recorded: set[str]) -> None:
    """Runs a backfill to its end: it requests nothing again, of each wallet that is stored."""
    durable, before = stored_spans(deployment), len(log)
    done = deployment.polycopy("backfill", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["complete"], report["failed_checks"]) == (WALLETS, [])
    asked = log[before:]
    assert asked_again(asked, durable) == []
    requests = Counter(item.wallet for item in asked)
    assert not recorded & requests.keys()
    assert all(requests[wallet] <= 1 for wallet in durable), "only what is newer than the segments"
    assert len(recorded_once(deployment)) == WALLETS
    assert deployment.feed_table.duplicates(5).found == []


def test_killed_at_any_moment_a_backfill_of_small_wallets_misses_and_doubles_nothing(
    deployed: Deployed,
):
    world = generate(78, WALLETS, most_trades=20)
    with deployed(world, POLYCOPY_CONCURRENCY=str(CONCURRENCY)) as (deployment, served):
        served.state.latency = 0.02
        deployment.want(world.wallets())
        log = served.state.counts.log
        for share in (0.2, 0.5, 0.8):
            durable, before = stored_spans(deployment), len(log)
            _kill_at(deployment, log, int(share * WALLETS))
            assert asked_again(log[before:], durable) == []
            recorded = recorded_once(deployment)
        _is_completed(deployment, log, recorded)
    assert deployment.table() == truth(world)


def _kill_at(deployment: Deployment, log: list[Asked], wallets: int) -> None:
    """Starts a backfill, and kills its process group once so many wallets were asked for."""
    process = deployment.start("backfill")
    while len({item.wallet for item in log}) < wallets and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.3)
