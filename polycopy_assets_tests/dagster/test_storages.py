"""What of Dagster's we replace serves what the original serves: every public method, compared.

A home that Dagster's own classes have filled is copied. Each method is called on one copy through
the original and on the other through ours; answers, and what is there afterwards, must agree.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType as Type
from dagster import EventLogEntry
from dagster._core.event_api import EventRecordsFilter, RunStatusChangeRecordsFilter
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    InstigatorType,
    TickData,
    TickStatus,
)
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.storage.schedules import SqliteScheduleStorage

from polycopy_assets.record.private.event_log import PooledSqliteEventLogStorage
from polycopy_assets.record.private.run_storage import (
    PatientSqliteRunStorage,
    PatientSqliteScheduleStorage,
)

pytestmark = pytest.mark.files

KEY = dg.AssetKey("fills")
RUN = "0b4e1a3c-0000-4000-8000-000000000001"
_KEYS = dg.DynamicPartitionsDefinition(name="keys")
_CHECK = dg.AssetCheckKey(KEY, "whole")
_POOL = "source"


@dg.asset(
    name="fills",
    partitions_def=_KEYS,
    check_specs=[dg.AssetCheckSpec("whole", asset=KEY)],
    output_required=False,
)
def _fills(context: dg.AssetExecutionContext) -> Iterator[Any]:
    yield dg.AssetObservation(KEY, partition=context.partition_key, metadata={"n": 1})
    yield dg.AssetMaterialization(KEY, partition="a", tags={"dagster/data_version": "rows-1"})
    yield dg.AssetCheckResult(passed=True)
    if context.partition_key == "b":
        raise dg.Failure("b fails")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("keys", ["a", "b", "c"])
        for number, key in enumerate("ab"):
            dg.materialize(
                [_fills],
                instance=instance,
                partition_key=key,
                run_config={},
                raise_on_error=False,
                tags={"number": str(number)},
            )
        assert instance.schedule_storage is not None
        instance.schedule_storage.all_instigator_state()
    return home


def _entry(number: int, event: dg.DagsterEvent | None = None) -> EventLogEntry:
    return EventLogEntry(
        user_message=f"event {number}",
        level=20,
        job_name="fetch",
        run_id=RUN,
        error_info=None,
        timestamp=1_700_000_000.0 + number,
        step_key=None,
        dagster_event=event,
    )


def _pair(filled: Path, tmp_path: Path, which: str) -> tuple[Any, Any]:
    homes = [tmp_path / "theirs", tmp_path / "ours"]
    for home in homes:
        shutil.copytree(filled, home)
    theirs, ours = map(str, homes)
    if which == "events":
        return (
            SqliteEventLogStorage(f"{theirs}/history/runs"),
            PooledSqliteEventLogStorage(ours),
        )
    if which == "runs":
        return (
            SqliteRunStorage.from_local(f"{theirs}/history"),
            PatientSqliteRunStorage.from_config_value(None, {"home": ours}),
        )
    return (
        SqliteScheduleStorage.from_local(f"{theirs}/schedules"),
        PatientSqliteScheduleStorage.from_config_value(None, {"home": ours}),
    )


def _plain(answer: Any) -> str:
    """The answer without what differs between two homes: addresses, times of now, folders."""
    if isinstance(answer, set | frozenset):
        answer = sorted(answer, key=repr)
    text = re.sub(r"0x[0-9a-f]{8,}", "ADDRESS", repr(answer))
    text = re.sub(r"datetime\.datetime\([^)]*\)", "TIME", text)
    text = re.sub(r"\b1[789]\d{8}(\.\d+)?\b", "SECONDS", text)
    return re.sub(r"/[^ '\"]*/(theirs|ours)/", "HOME/", text)


_FAILED = "raised"


def _answer(storage: Any, name: str, *args: Any, **options: Any) -> str:
    try:
        member = getattr(storage, name)
        return _plain(member(*args, **options) if callable(member) else member)
    except Exception as error:  # noqa: BLE001 - both have to fail in the same way
        return f"{_FAILED} {type(error).__name__}: {_plain(str(error))}"


Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def _call(name: str, *args: Any, **options: Any) -> Call:
    return name, args, options


def _event_reads(run_id: str) -> list[Call]:
    records = dg.AssetRecordsFilter(KEY)
    return [
        _call("get_logs_for_run", run_id),
        _call("get_records_for_run", run_id, limit=3),
        _call("get_stats_for_run", run_id),
        _call("get_step_stats_for_run", run_id),
        _call("get_asset_keys_for_run", run_id),
        _call("get_asset_partitions_for_run", run_id),
        _call("get_all_run_ids"),
        _call("get_event_records", EventRecordsFilter(Type.ASSET_MATERIALIZATION, asset_key=KEY)),
        _call("get_logs_for_all_runs_by_log_id"),
        _call("get_maximum_record_id"),
        _call("fetch_materializations", records, 10),
        _call("fetch_failed_materializations", records, 10),
        _call("fetch_observations", records, 10),
        _call("fetch_run_status_changes", RunStatusChangeRecordsFilter(Type.RUN_SUCCESS), 10),
        _call("get_asset_records", [KEY]),
        _call("get_asset_event_summary_records", Type.ASSET_MATERIALIZATION, KEY),
        _call("get_asset_check_summary_records", [_CHECK]),
        _call("get_asset_check_execution_history", _CHECK, 10),
        _call("get_latest_asset_check_execution_by_key", [_CHECK]),
        _call("get_asset_check_partition_info", [_CHECK]),
        _call("has_asset_key", KEY),
        _call("all_asset_keys"),
        _call("get_asset_keys"),
        _call("get_latest_materialization_events", [KEY]),
        _call("get_materialized_partitions", KEY),
        _call("get_latest_storage_id_by_partition", KEY, Type.ASSET_MATERIALIZATION),
        _call(
            "get_latest_tags_by_partition",
            KEY,
            Type.ASSET_MATERIALIZATION,
            ["dagster/data_version"],
        ),
        _call("get_latest_asset_partition_materialization_attempts_without_materializations", KEY),
        _call("get_latest_planned_materialization_info", KEY, "a"),
        _call("get_updated_data_version_partitions", KEY, ["a", "b"], 0),
        _call("get_event_tags_for_asset", KEY),
        _call("get_freshness_state_records", [KEY]),
        _call("get_dynamic_partitions", "keys"),
        _call("get_paginated_dynamic_partitions", "keys", limit=2, ascending=True),
        _call("has_dynamic_partition", "keys", "b"),
        _call("get_existing_dynamic_partitions", "keys", ["a", "z"]),
        _call("get_concurrency_keys"),
        _call("get_concurrency_info", _POOL),
        _call("get_concurrency_infos", [_POOL]),
        _call("get_concurrency_run_ids"),
        _call("get_pool_limits"),
        _call("get_pool_config"),
        _call("get_latest_materialization_storage_ids", [KEY]),
        _call("check_concurrency_claim", _POOL, run_id, "fills"),
        _call("alembic_version"),
        *[
            _call(name)
            for name in (
                "is_persistent",
                "is_run_sharded",
                "supports_asset_checks",
                "supports_global_concurrency_limits",
                "supports_run_status_change_job_name_filter",
                "supports_partition_subset_in_asset_materialization_planned_events",
                "asset_records_have_last_observation",
                "asset_records_have_last_planned_and_failed_materializations",
                "can_read_asset_status_cache",
                "can_write_asset_status_cache",
                "can_store_asset_failure_events",
                "handles_run_events_in_store_event",
                "default_run_scoped_event_tailer_offset",
                "has_bounded_dynamic_partition_membership_query",
            )
        ],
    ]


def _event_writes(run_id: str) -> list[Call]:
    return [
        _call("store_event", _entry(1)),
        _call("store_event_batch", [_entry(2), _entry(3)]),
        _call("add_dynamic_partitions", "keys", ["d"]),
        _call("delete_dynamic_partition", "keys", "c"),
        _call("set_concurrency_slots", _POOL, 1),
        _call("initialize_concurrency_limit_to_default", "warehouse"),
        _call("claim_concurrency_slot", _POOL, run_id, "fills"),
        _call("claim_concurrency_slot", _POOL, RUN, "fills"),
        _call("free_concurrency_slot_for_step", run_id, "fills"),
        _call("free_concurrency_slots_for_run", RUN),
        _call("delete_concurrency_limit", _POOL),
        _call("wipe_asset_cached_status", KEY),
        _call("update_asset_cached_status_data", KEY, None),
        _call("wipe_asset_partitions", KEY, ["a"]),
        _call("reindex_events", force=True),
        _call("reindex_assets", force=True),
        _call("optimize_for_webserver", 1000, 10, 5),
        _call("upgrade"),
        _call("store_event", _entry(4)),
        _call("delete_events", run_id),
        _call("wipe_asset", KEY),
        _call("wipe"),
        _call("store_event", _entry(5)),
        _call("get_logs_for_run", RUN),
        _call("dispose"),
        _call("store_event", _entry(6)),
        _call("get_logs_for_run", RUN),
    ]


def _run_reads(run_id: str) -> list[Call]:
    return [
        _call("get_runs"),
        _call("get_run_ids"),
        _call("get_runs_count"),
        _call("get_run_records", order_by="start_time"),
        _call("get_run_group", run_id),
        _call("get_run_tags", ["number"]),
        _call("get_run_tag_keys"),
        _call("get_run_partition_data", dg.RunsFilter(tags={"number": "1"})),
        _call("has_run", run_id),
        _call("get_daemon_heartbeats"),
        _call("get_backfills"),
        _call("get_backfills_count"),
        _call("get_backfill", "none"),
        _call("get_cursor_values", {"polycopy/turn/source"}),
        _call("has_job_snapshot", "none"),
        _call("has_execution_plan_snapshot", "none"),
        _call("has_built_index", "run_partitions"),
        _call("supports_bucket_queries"),
        _call("supports_run_telemetry"),
        _call("alembic_version"),
    ]


def _run_writes(run_id: str) -> list[Call]:
    return [
        _call("add_run_tags", run_id, {"polycopy/worker": "me"}),
        _call("set_cursor_values", {"polycopy/turn/source": "held me"}),
        _call("migrate", print_fn=None),
        _call("optimize", print_fn=None),
        _call("upgrade"),
        _call("optimize_for_webserver", 1000, 10, 5),
        _call("wipe_daemon_heartbeats"),
        _call("delete_run", run_id),
        _call("dispose"),
        _call("wipe"),
    ]


_STATE = InstigatorState(
    RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ours"), "__repository__"), "dead_runs"
    ),
    InstigatorType.SENSOR,
    InstigatorStatus.RUNNING,
)
_STATE_IDS = (_STATE.instigator_origin_id, _STATE.selector_id)
_TICK = TickData(
    *(_STATE_IDS[0], "dead_runs", InstigatorType.SENSOR, TickStatus.STARTED, 1_700_000_000.0),
    selector_id=_STATE_IDS[1],
)
_SCHEDULE_READS = [
    _call("all_instigator_state"),
    _call("get_instigator_state", *_STATE_IDS),
    _call("get_ticks", *_STATE_IDS),
    _call("get_batch_ticks", [_STATE_IDS[1]], limit=5),
    _call("get_ticks_by_ids", [1]),
    _call("get_tick_summaries", *_STATE_IDS),
    _call("get_auto_materialize_asset_evaluations", KEY, 5),
    _call("get_auto_materialize_evaluations_for_evaluation_id", 1),
    _call("supports_auto_materialize_asset_evaluations"),
    _call("supports_batch_queries"),
    _call("alembic_version"),
]
_SCHEDULE_WRITES = [
    _call("add_instigator_state", _STATE),
    _call("update_instigator_state", _STATE.with_status(InstigatorStatus.STOPPED)),
    _call("create_tick", _TICK),
    _call("update_tick", InstigatorTick(1, _TICK.with_status(TickStatus.SUCCESS))),
    _call("add_auto_materialize_asset_evaluations", 1, []),
    _call("purge_ticks", *_STATE_IDS, 2_000_000_000.0),
    _call("purge_asset_evaluations", 0.0),
    _call("delete_instigator_state", *_STATE_IDS),
    _call("migrate", print_fn=None),
    _call("optimize", print_fn=None),
    _call("upgrade"),
    _call("optimize_for_webserver", 1000, 10, 5),
    _call("dispose"),
    _call("wipe"),
]


def _agree(theirs: Any, ours: Any, calls: list[Call]) -> set[str]:
    """Calls each on both; the names of those that worked."""
    worked = set()
    for name, args, options in calls:
        expected = _answer(theirs, name, *args, **options)
        assert _answer(ours, name, *args, **options) == expected, name
        if not expected.startswith(_FAILED):
            worked.add(name)
    return worked


@pytest.mark.parametrize(
    ("which", "reads", "writes"),
    [
        ("events", _event_reads, _event_writes),
        ("runs", _run_reads, _run_writes),
        ("schedules", lambda _: _SCHEDULE_READS, lambda _: _SCHEDULE_WRITES),
    ],
)
def test_every_answer_is_that_of_the_original(
    filled: Path,
    tmp_path: Path,
    which: str,
    reads: Callable[[str], list[Call]],
    writes: Callable[[str], list[Call]],
):
    theirs, ours = _pair(filled, tmp_path, which)
    instance = dg.DagsterInstance.ephemeral()  # what it says of pools is asked for
    theirs.register_instance(instance)
    ours.register_instance(instance)
    run_id = min(path.stem for path in (filled / "history" / "runs").glob("*-*.db"))
    worked = _agree(theirs, ours, reads(run_id))
    for write in writes(run_id):
        worked |= _agree(theirs, ours, [write])
        _agree(theirs, ours, reads(run_id))
    untried = _public(type(theirs)) - worked - _ELSEWHERE
    assert not untried, f"Dagster's storage serves what no test tries here: {sorted(untried)}"


def _public(original: type) -> set[str]:
    """The public members of Dagster's interface that the original implements."""
    interface = {
        SqliteEventLogStorage: "EventLogStorage",
        SqliteRunStorage: "RunStorage",
        SqliteScheduleStorage: "ScheduleStorage",
    }[original]
    base = next(each for each in original.__mro__ if each.__name__ == interface)
    return {name for name in vars(base) if not name.startswith("_")}


_ELSEWHERE = frozenset(
    {
        "watch",  # test_watch.py
        "end_watch",
        "get_asset_status_cache_values",  # it takes a loading context of the webserver
        "wipe_asset_partitions",  # Dagster's own SQLite storage does not have it either
        # Only a run or the daemon makes what they take: all other tests go through them.
        "store_asset_event",
        "store_asset_event_tags",
        "store_asset_check_event",
        "update_asset_cached_status_data",
        "get_asset_check_state",
        "get_checkpointed_asset_check_state",
        "get_asset_tags_to_index",
        "add_run",
        "add_historical_run",
        "handle_run_event",
        "add_snapshot",
        "has_snapshot",
        "add_job_snapshot",
        "get_job_snapshot",
        "add_execution_plan_snapshot",
        "get_execution_plan_snapshot",
        "add_daemon_heartbeat",
        "get_tick",  # it fails in the original as well
        "add_run_telemetry",
        "add_backfill",
        "update_backfill",
        "replace_job_origin",
    }
)


def test_a_file_that_another_process_deleted_is_made_anew_as_by_the_original(tmp_path: Path):
    """`dagster run wipe`, or somebody who tidies, while a connection is kept."""
    log = PooledSqliteEventLogStorage(str(tmp_path))
    log.store_event(_entry(1))
    log.add_dynamic_partitions("keys", ["a"])
    for file in (tmp_path / "history" / "runs").glob("*.db*"):
        file.unlink()
    log.store_event(_entry(2))
    assert not log.has_asset_key(KEY)
    log.add_dynamic_partitions("keys", ["b"])
    script = (
        "import sys; from dagster._core.storage.event_log import SqliteEventLogStorage as S;"
        "log = S(sys.argv[1]);"
        "print([e.user_message for e in log.get_logs_for_run(sys.argv[2])],"
        " log.get_dynamic_partitions('keys'))"
    )
    seen = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "history" / "runs"), RUN],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    log.dispose()
    assert seen.stdout.strip() == "['event 2'] ['b']"
