"""A backfill loads beside its fetch; killed or told to stop, it misses and repeats nothing."""

import os
import signal

import dagster as dg
import pytest

from polycopy_assets.cli.beside import Beside
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.guard.exclusive import WAREHOUSE
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.ours import Job
from polycopy_assets.record.loads import RECORD
from polycopy_assets.system.step import Step
from polycopy_assets_tests.crash.load_beside import (
    SAID,
    SETTINGS,
    SLOW,
    WORLD,
    S,
    assert_complete,
    batches,
    ended,
    fetching,
    finish,
    runs,
    started,
    until,
    versions,
)
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.of_trades import KEYS


@pytest.mark.timeout(300)
def test_the_table_grows_while_the_fetch_goes_on(deployed: Deployed):
    with fetching(deployed, until_there="loaded", hold=True) as (deployment, served, process):
        assert runs(deployment, Job.FETCH, S.STARTED)
        assert 0 < deployment.table().total() < truth(WORLD).total()
        assert versions(deployment) == [None, None], "only the load after the fetch writes events"
        (deployment.root / "hold").unlink()
        until(lambda: len(batches(deployment)) > 1, process)
        assert runs(deployment, Job.FETCH, S.STARTED)
        served.state.latency = 0.0
        code, _, err = ended(process)
        assert code == 0, err
        assert_complete(deployment)
        assert len(runs(deployment, Job.LOAD)) == len(runs(deployment, Job.LOAD, S.SUCCESS)) == 1
        finish(deployment, served)


KILLS = {
    "before it combines": "beside.combine_new = die",
    "between a batch and its load": "beside.load = die",
    "inside the transaction": "DuckDBTable._refuse_others = die",
    "after a load": "beside.load = lambda *args: die(*real_load(*args))",
    "at its second combine": """
def second(*args, **options):
    return die() if loaded else combine_noted(*args, **options)
beside.combine_new = second
""",
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kill", KILLS)
def test_killed_while_it_loads_a_backfill_misses_doubles_and_repeats_nothing(
    deployed: Deployed, kill: str
):
    with deployed(WORLD, **SETTINGS) as (deployment, served):
        deployment.want(WORLD.wallets())
        served.state.latency = SLOW
        with started(deployment, KILLS[kill]) as process:
            code, _, err = ended(process)
        assert code == -signal.SIGKILL, err
        assert runs(deployment, Job.FETCH, S.STARTED)
        assert not runs(deployment, Job.LOAD)
        finish(deployment, served)


UNRECORDED = {
    "the thread": """
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import this_process
from polycopy_assets.resources.chosen import open_warehouse
real_exit = beside.Beside.__exit__
def ended(self, *error):
    real_exit(self, *error)
    lock = instance_locks(self._instance).try_acquire("warehouse", this_process("test"))
    self._load(open_warehouse(self._settings, "trades").table(TRADES), lock)
    die()
beside.Beside.__exit__ = ended
""",
    "the job": "from polycopy_assets.assets import feed_table; feed_table.loaded_metadata = die",
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("loader", UNRECORDED)
def test_a_load_that_was_not_recorded_is_recorded_by_the_next_backfill(
    deployed: Deployed, loader: str
):
    with deployed(WORLD) as (deployment, served):
        deployment.want(WORLD.wallets())
        with started(deployment, UNRECORDED[loader]) as process:
            code, _, err = ended(process)
        assert code == -signal.SIGKILL, err
        assert deployment.table() == truth(WORLD)
        assert versions(deployment)[1] is None
        made, before = batches(deployment), len(served.state.counts.log)
        finish(deployment, served)
        assert batches(deployment) == made
        assert len(served.state.counts.log) == before


def test_a_table_recorded_with_an_older_state_of_the_record_is_recorded_again(deployed: Deployed):
    """As if the thread of another backfill had loaded while this one's job was at work."""
    with deployed(WORLD) as (deployment, served):
        deployment.want(WORLD.wallets())
        deployment.backfill()
        with deployment.instance() as instance:
            event = instance.get_latest_materialization_event(KEYS.table)
            assert event
            found = event.asset_materialization
            assert found
            older = found._replace(metadata={**found.metadata, RECORD: dg.TextMetadataValue("old")})
            instance.report_runless_asset_event(older)
        finish(deployment, served)
        with deployment.instance() as instance:
            event = instance.get_latest_materialization_event(KEYS.table)
            assert event
            assert event.asset_materialization
            assert event.asset_materialization.metadata[RECORD] == found.metadata[RECORD]


AT_WORK = {
    "that checks": """
def load(*args):
    while True:
        yield
        time.sleep(0.05)
beside.load = load
""",
    "that hangs": "beside.STOP_SECONDS = 0.5; beside.load = lambda *args: time.sleep(600)",
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("whom", ["the group", "the backfill"])
@pytest.mark.parametrize("load", AT_WORK)
def test_told_to_stop_during_a_load_a_backfill_ends_in_one_line(
    deployed: Deployed, load: str, whom: str
):
    with fetching(deployed, AT_WORK[load]) as (deployment, served, process):
        until(lambda: batches(deployment), process)
        if whom == "the group":
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.kill(process.pid, signal.SIGTERM)
        code, out, err = ended(process)
        assert (code, out) == (130, "")
        assert err.splitlines()[-1] == SAID
        assert err.count("polycopy:") == 1, err
        assert "Traceback" not in err
        with deployment.instance() as instance:
            assert instance_locks(instance).holder(WAREHOUSE) is None
            assert end_dead_runs(instance) == {}
        finish(deployment, served)


@pytest.mark.timeout(300)
def test_told_to_stop_while_it_waits_for_a_load_a_backfill_ends_in_one_line(deployed: Deployed):
    with fetching(deployed, AT_WORK["that hangs"]) as (deployment, served, process):
        served.state.latency = 0.0
        until(lambda: runs(deployment, Job.FETCH, S.SUCCESS), process)
        os.killpg(process.pid, signal.SIGINT)
        code, out, err = ended(process)
        assert (code, out) == (130, "")
        assert err.splitlines()[-1] == SAID
        assert err.count("polycopy:") == 1, err
        finish(deployment, served)


def test_an_interrupt_of_the_wait_ends_the_thread_before_its_store_is_given_up(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
):
    def load(beside: Beside) -> None:
        while not beside._stopped.wait(0.01):
            pass

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Beside, "_load_often", load)
    with deployment.instance() as instance:
        beside = Beside(instance, deployment.settings, Progress())
        monkeypatch.setattr(Step, "follow", interrupt)
        with pytest.raises(KeyboardInterrupt), beside:
            pass
        assert not beside._thread.is_alive()
