"""What a run over many partitions leaves in Dagster's record."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import AssetPartitionStatus

from polycopy_assets.assets.step_record import StepRecord
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import PolycopyError, RunEnded
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.guard.heartbeat import (
    free_run_lock,
    run_lock,
    run_lock_tags,
    take_run_lock,
)
from polycopy_assets.guard.instance_locks import instance_locks
from polycopy_assets.guard.lock import Holder, Locks, this_process
from polycopy_assets.record import attempts, materializations, refetching
from polycopy_assets.record.partitions import wallets_partitions
from polycopy_assets.record.private.event_log import PooledSqliteEventLogStorage
from polycopy_assets.record.private.run_storage import (
    PatientSqliteRunStorage,
    PatientSqliteScheduleStorage,
)
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets_tests.deployment import Deployed, Deployment, backfill_job
from polycopy_assets_tests.of_trades import KEYS, record_in

RANGE = "dagster/asset_partition_range_"


def _fetch(
    deployment: Deployment, instance: dg.DagsterInstance, first: str, last: str, **tags: str
) -> dg.ExecuteInProcessResult:
    job = backfill_job(deployment.settings)
    return job.execute_in_process(
        instance=instance,
        tags={f"{RANGE}start": first, f"{RANGE}end": last, **tags},
        raise_on_error=False,
    )


def _materialized(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    return [
        str(entry.get_dagster_event().partition)
        for entry in instance.all_logs(run_id, of_type=kind)
    ]


def test_a_range_records_each_good_wallet_once_and_none_that_failed(deployed: Deployed):
    world = generate(61, 8, whales=8, whale_trades=12)
    keys = [wallet.lower() for wallet in world.wallets()]
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({keys[3]: "400"})
        deployment.want(keys)
        with deployment.instance() as instance:
            result = _fetch(deployment, instance, keys[1], keys[6])
            recorded = _materialized(instance, result.run_id)
            statuses = instance.get_status_by_partition(KEYS.wallets, keys, wallets_partitions)
            assert statuses is not None
    good = [key for key in keys[1:7] if key != keys[3]]
    assert not result.success
    assert sorted(recorded) == sorted(good)
    assert [k for k in keys if statuses[k] == AssetPartitionStatus.MATERIALIZED] == good
    assert [k for k in keys if statuses[k] == AssetPartitionStatus.FAILED] == [keys[3]]
    failure = next(e for e in result.all_events if e.is_step_failure)
    assert keys[3] in str(failure.step_failure_data.user_failure_data)


def test_a_record_tells_what_is_in_the_store(deployed: Deployed):
    world = generate(63, 1, whales=1, whale_trades=3000)
    key = world.wallets()[0].lower()
    with deployed(world, POLYCOPY_SEGMENT_BYTES="100000") as (deployment, _):
        deployment.want([key])
        with deployment.instance() as instance:
            assert _fetch(deployment, instance, key, key).success
            found = record_in(instance).latest(key)
    assert found is not None
    assert len(found.segments) > 1
    for segment in found.segments:
        assert crc32c(deployment.store.read(segment.name)) == segment.crc32c
    metadata = {name: value.value for name, value in found.metadata.items()}
    trades = world.truth(key)
    assert metadata["dagster/row_count"] == len(trades) == sum(s.rows for s in found.segments)
    assert metadata["first_trade"] == trades[-1].timestamp
    assert metadata["last_trade"] == trades[0].timestamp
    how = metadata["fetch"]
    assert isinstance(how, dict)
    assert how["source"] == "polymarket"
    assert int(str(how["requests"])) >= 3
    assert metadata["covered_until"] == found.covered_until


@pytest.mark.files
def test_what_only_a_dead_runs_own_log_holds_is_not_recorded(deployed: Deployed):
    world = generate(62, 2, whales=2, whale_trades=3)
    keys = [wallet.lower() for wallet in world.wallets()]
    with deployed(world) as (deployment, _):
        deployment.want(keys)
        with deployment.instance() as instance:
            run = _fetch(deployment, instance, keys[0], keys[0])
            entry = next(
                entry
                for entry in instance.all_logs(run.run_id)
                if entry.dagster_event and entry.dagster_event.is_step_materialization
            )
            event = entry.get_dagster_event()
            torn = entry._replace(
                dagster_event=event._replace(
                    event_specific_data=event.step_materialization_data._replace(
                        materialization=materializations.materialization(
                            TRADES, keys[1], "rows-3-" + "0" * 16, {}
                        )
                    )
                )
            )
            # What a kill between the two writes of an event leaves behind.
            log = instance.event_log_storage
            assert isinstance(log, PooledSqliteEventLogStorage)
            with log.run_connection(run.run_id) as connection:
                connection.execute(log.prepare_insert_event(torn))
            noted = [
                entry.get_dagster_event().partition
                for entry in instance.all_logs(
                    run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
                )
            ]
            assert sorted(map(str, noted)) == sorted(keys)
            assert record_in(instance).recorded_by([run.run_id]) == {keys[0]}


@pytest.mark.parametrize("fails_in_the_end", [False, True])
def test_a_retried_run_asks_nothing_for_what_its_family_has_recorded(
    deployed: Deployed, *, fails_in_the_end: bool
):
    world = generate(67, 6, whales=6, whale_trades=12)
    keys = [wallet.lower() for wallet in world.wallets()]
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({keys[2]: "400"})
        deployment.want(keys)
        with deployment.instance() as instance:
            first = _fetch(deployment, instance, keys[0], keys[5])
            if not fails_in_the_end:
                served.state.faults.set_wallets({})
            served.state.counts.reset()
            job = backfill_job(deployment.settings)
            run = instance.create_run_for_job(
                job,
                tags={f"{RANGE}start": keys[0], f"{RANGE}end": keys[5]},
                parent_run_id=first.run_id,
                root_run_id=first.run_id,
                asset_selection=frozenset({KEYS.wallets}),
            )
            events = list(dg._core.execution.api.execute_run_iterator(_job(job), run, instance))
            assert set(served.state.counts.requests) == {keys[2]}
            failed = attempts.failed(record_in(instance))
    assert any(event.is_failure for event in events) == fails_in_the_end
    assert failed == ([keys[2]] if fails_in_the_end else [])


@pytest.mark.parametrize("chosen", [False, True], ids=["all wallets", "chosen partitions"])
def test_a_retried_run_records_what_its_family_only_stated(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, *, chosen: bool
):
    """A killed run can leave the coverage of wallets whose record it has not written."""
    world = generate(68, 4, most_trades=20)
    empty = "0x" + "e" * 40
    keys = sorted(wallet.lower() for wallet in (*world.wallets(), empty))

    def killed(_: StepRecord) -> None:
        raise PolycopyError("killed")

    with deployed(world, lag_seconds=86_400) as (deployment, served):
        deployment.want([key for key in keys if key != empty])
        assert deployment.backfill().remaining == 0
        deployment.want([empty])
        served.state.lag_seconds -= 3_600
        with deployment.instance() as instance:
            config = {} if chosen else {"select": "all"}
            tags = {f"{RANGE}start": keys[0], f"{RANGE}end": keys[-1]} if chosen else {}
            whole = build(deployment.settings)
            job = backfill_job(deployment.settings) if chosen else whole.resolve_job_def("fetch")

            def run(first: dg.DagsterRun | None) -> dg.DagsterRun:
                made = instance.create_run_for_job(
                    job,
                    run_config={"ops": {"wallet_trades": {"config": config}}},
                    tags=tags,
                    parent_run_id=first and first.run_id,
                    root_run_id=first and first.run_id,
                    asset_selection=frozenset({KEYS.wallets}) if chosen else None,
                )
                list(dg._core.execution.api.execute_run_iterator(_job(job), made, instance))
                return made

            with monkeypatch.context() as patched:
                patched.setattr(StepRecord, "flush", killed)
                first = run(None)
            assert empty in read_coverage(deployment.store).statements
            second = run(first)
            recorded = record_in(instance).recorded_by([second.run_id])
            assert recorded == ({*keys} if chosen else {empty})
            assert refetching.complete(record_in(instance)).keys() >= {*keys}
            ended = instance.get_run_by_id(second.run_id)
            assert ended is not None
            assert ended.is_success


def _job(job: dg.JobDefinition):
    from dagster._core.definitions.job_base import InMemoryJob

    return InMemoryJob(job)


@pytest.mark.files
def test_the_pooled_event_log_reads_what_dagsters_own_wrote_and_is_the_one_in_use(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    key = dg.AssetKey("wallet_trades")
    with dg.DagsterInstance.from_config(str(home)) as plain:
        plain.report_runless_asset_event(dg.AssetMaterialization(key, partition="a"))
    deployment = Deployment(tmp_path, "http://127.0.0.1:9", DAGSTER_HOME=str(home))
    (home / "dagster.yaml").unlink()
    with deployment.instance() as pooled:
        assert isinstance(pooled.event_log_storage, PooledSqliteEventLogStorage)
        assert pooled.get_materialized_partitions(key) == {"a"}
        pooled.report_runless_asset_event(dg.AssetMaterialization(key, partition="b"))
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as plain:
        assert plain.get_materialized_partitions(key) == {"a", "b"}


@pytest.mark.files
def test_patient_storages_read_what_dagsters_own_wrote_and_are_the_ones_in_use(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    deployment = Deployment(tmp_path, "http://127.0.0.1:9", DAGSTER_HOME=str(home))
    job = build(deployment.settings).resolve_job_def("fetch")
    with dg.DagsterInstance.from_config(str(home)) as plain:
        first = plain.create_run_for_job(job)
        assert plain.schedule_storage is not None
        plain.schedule_storage.all_instigator_state()
    (home / "dagster.yaml").unlink()
    with deployment.instance() as patient:
        assert isinstance(patient.run_storage, PatientSqliteRunStorage)
        assert isinstance(patient.schedule_storage, PatientSqliteScheduleStorage)
        assert patient.schedule_storage.all_instigator_state() == []
        second = patient.create_run_for_job(job)
        with dg.DagsterInstance.from_ref(patient.get_ref()) as again:
            assert isinstance(again.run_storage, PatientSqliteRunStorage)
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as plain:
        assert {run.run_id for run in plain.get_runs()} == {first.run_id, second.run_id}


@pytest.mark.files
def test_a_locked_database_of_runs_or_schedules_is_waited_for(deployment: Deployment):
    """Dagster's own storages give up after five seconds."""
    job = build(deployment.settings).resolve_job_def("fetch")
    with deployment.instance() as instance:
        run = instance.create_run_for_job(job)
        schedules = instance.schedule_storage
        assert isinstance(schedules, PatientSqliteScheduleStorage)
        home = Path(deployment.settings.home)
        files = [home / "history" / "runs.db", home / "schedules" / "schedules.db"]
        locks = [sqlite3.connect(file, check_same_thread=False) for file in files]
        for lock in locks:
            lock.execute("BEGIN EXCLUSIVE")
        ends = threading.Timer(6.5, lambda: [lock.close() for lock in locks])
        ends.start()
        with ThreadPoolExecutor() as both:
            writes = [
                both.submit(instance.add_run_tags, run.run_id, {"written": "yes"}),
                both.submit(schedules.purge_ticks, "sensor", "selector", 0.0),
            ]
            assert not any(write.done() for write in writes)
            for write in writes:
                write.result()
        (written,) = instance.get_runs()
    assert written.tags["written"] == "yes"


def test_several_processes_may_open_a_fresh_home_at_once(tmp_path: Path, deployment: Deployment):
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "polycopy_assets", "init"],
            env=deployment.process_environ(),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors


S = dg.DagsterRunStatus


def _run(
    deployment: Deployment, instance: dg.DagsterInstance, status: S, **tags: str
) -> dg.DagsterRun:
    job = build(deployment.settings).resolve_job_def("fetch")
    return instance.create_run_for_job(job, status=status, tags={**job.run_tags, **tags})


def _begun(deployment: Deployment, instance: dg.DagsterInstance, status: S) -> dg.DagsterRun:
    """A run that has taken its lock, which is free now: its process is gone."""
    run = _run(deployment, instance, status)
    instance.add_run_tags(run.run_id, run_lock_tags(run.run_id))
    return run


def test_a_run_is_ended_when_its_own_lock_is_free_and_for_no_other_reason(deployment: Deployment):
    with deployment.instance() as instance:
        dead, alive = (_begun(deployment, instance, S.STARTED) for _ in range(2))
        inherits = _run(deployment, instance, S.STARTED, **run_lock_tags(dead.run_id))
        older = _run(deployment, instance, S.STARTED, **{"polycopy/worker": "1a2b@gone:1"})
        name = run_lock(alive.run_id)
        lock = instance_locks(instance).try_acquire(name, this_process("fetch", alive.run_id))
        assert lock
        assert end_dead_runs(instance) == {dead.run_id: "the process that ran it has ended"}
        statuses = {run.run_id: run.status for run in instance.get_runs()}
        living = {alive.run_id, inherits.run_id, older.run_id}
        assert statuses == {dead.run_id: S.FAILURE, **dict.fromkeys(living, S.STARTED)}
        lock.release()
        assert list(end_dead_runs(instance)) == [alive.run_id]


@pytest.mark.parametrize(
    ("left", "becomes"),
    [
        (S.NOT_STARTED, S.FAILURE),
        (S.STARTING, S.FAILURE),
        (S.STARTED, S.FAILURE),
        (S.CANCELING, S.CANCELED),
    ],
)
def test_whatever_a_command_that_died_was_at_its_run_is_ended(
    deployment: Deployment, left: S, becomes: S
):
    """Cancelled, if a person had told it to stop: it must not be tried again."""
    with deployment.instance() as instance:
        run = _begun(deployment, instance, left)
        assert list(end_dead_runs(instance)) == [run.run_id]
        (ended,) = instance.get_runs()
    assert ended.status == becomes
    assert ended.tags.get("dagster/will_retry") == ("true" if becomes == S.FAILURE else None)


def test_a_started_run_that_has_not_taken_its_lock_has_three_minutes(deployment: Deployment):
    with deployment.instance() as instance:
        run = _run(deployment, instance, S.STARTING)
        start = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="fetch")
        instance.report_dagster_event(start, run.run_id)
        assert end_dead_runs(instance, lambda: time.time() + 170) == {}
        assert end_dead_runs(instance, lambda: time.time() + 190) == {run.run_id: "it never began"}
        with pytest.raises(RunEnded, match="was ended before it began"):
            take_run_lock(instance, run.run_id, "fetch")
        free_run_lock(run.run_id)


@pytest.mark.parametrize("status", [S.NOT_STARTED, S.STARTING])
@pytest.mark.parametrize("retried", [False, True])
def test_a_run_that_dagster_has_yet_to_start_is_left_alone(
    deployment: Deployment, status: S, *, retried: bool
):
    with deployment.instance() as instance:
        # A retried run inherits the tags of the one that died.
        _run(deployment, instance, status, **(run_lock_tags("another") if retried else {}))
        assert end_dead_runs(instance, lambda: time.time() + 86_400) == {}


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_end(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
):
    """A process that has ended its run frees the run's lock a moment later."""
    with deployment.instance() as instance:
        run = _begun(deployment, instance, S.STARTED)
        kind = type(instance_locks(instance))
        looks = kind.holder

        def ends(locks: Locks, name: str) -> Holder | None:
            success = dg.DagsterEvent(event_type_value="PIPELINE_SUCCESS", job_name="fetch")
            instance.report_dagster_event(success, run.run_id)
            return looks(locks, name)

        monkeypatch.setattr(kind, "holder", ends)
        assert end_dead_runs(instance) == {}
        (ended,) = instance.get_runs()
    assert ended.status == S.SUCCESS


def test_looking_at_a_run_that_begins_does_not_keep_it_from_beginning(deployment: Deployment):
    with deployment.instance() as instance:
        locks, over = instance_locks(instance), threading.Event()
        # In Postgres each lock has a connection, and a server has 100 of them.
        count = 200 if deployment.settings.instance == "files" else 30
        runs = [f"{number:08d}" for number in range(count)]

        def look() -> None:
            while not over.is_set():
                for run_id in runs:
                    locks.holder(run_lock(run_id))

        watching = [threading.Thread(target=look) for _ in range(2)]
        for thread in watching:
            thread.start()
        try:
            for run_id in runs:
                take_run_lock(instance, run_id, "fetch")
        finally:
            over.set()
            for thread in watching:
                thread.join()
            for run_id in runs:
                free_run_lock(run_id)


def test_a_command_killed_before_its_run_has_begun_leaves_nothing_behind(deployed: Deployed):
    with deployed(generate(68, 2, most_trades=3)) as (deployment, _):
        deployment.want(generate(68, 2, most_trades=3).wallets())
        killed = deployment.polycopy("backfill", first=_KILLED_WHEN_ITS_RUN_EXISTS)
        assert killed.returncode == -signal.SIGKILL
        with deployment.instance() as instance:
            assert [run.status for run in instance.get_runs()] == [S.NOT_STARTED]
            assert len(end_dead_runs(instance)) == 1
            assert [run.status for run in instance.get_runs()] == [S.FAILURE]


_KILLED_WHEN_ITS_RUN_EXISTS = """
import os, signal
from dagster._core.storage.runs import SqlRunStorage
add = SqlRunStorage.add_run
def add_run(self, *args, **options):
    add(self, *args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
SqlRunStorage.add_run = add_run
"""
