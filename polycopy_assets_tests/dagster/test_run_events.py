"""Materializations written in a batch are stored exactly as those written one by one."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy
import yaml

from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.record import materializations
from polycopy_assets.record.partitions import register, wallets_partitions
from polycopy_assets.record.private.database import event_log
from polycopy_assets.record.step_events import log_event, log_materializations
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.instances import on_postgres
from polycopy_assets_tests.of_trades import KEYS, record_in

KINDS = ("pooled", "plain", "wrapped", "postgres", "postgres in parts")
WALLETS = [f"0x{number:040x}" for number in range(12)]
MATERIALIZED = dg.DagsterEventType.ASSET_MATERIALIZATION

_REPEATED = ("logging_tags", "step_handle", "node_handle")
REPEATED = ("logging_tags", "step_handle", "solid_handle")
"""What an event repeats about its step, as the database names it: left out of those in a batch."""

Events = Sequence[dg.AssetMaterialization]
Write = Callable[[dg.AssetExecutionContext, Events], None]


def event(wallet: str) -> dg.AssetMaterialization:
    number = WALLETS.index(wallet)
    metadata = {"rows": dg.MetadataValue.int(number), "uri": dg.MetadataValue.text("file:///é")}
    return materializations.materialization(
        TRADES, wallet, f"rows-{number}-0123456789abcdef", metadata
    )


EVENTS = [*map(event, WALLETS), event(WALLETS[3])]
"""One wallet is there twice."""


def singly(context: dg.AssetExecutionContext, events: Events) -> None:
    for each in events:
        log_event(context, each)


@contextmanager
def kept(kind: str, path: Path, request: pytest.FixtureRequest) -> Iterator[dg.DagsterInstance]:
    """A new instance of this kind, in which the wallets are registered."""
    deployment = Deployment(path, "http://127.0.0.1:9")
    deployment.environ.pop("POLYCOPY_INSTANCE", None)
    home = Path(deployment.settings.home)
    home.mkdir(parents=True)
    telemetry: dict[str, object] = {"telemetry": {"enabled": False}}
    match kind:
        case "plain":
            (home / "dagster.yaml").write_text(yaml.safe_dump(telemetry))
        case "wrapped":
            sqlite = {"storage": {"sqlite": {"base_dir": str(home / "files")}}}
            (home / "dagster.yaml").write_text(yaml.safe_dump(telemetry | sqlite))
        case "postgres":
            on_postgres(deployment, request.getfixturevalue("server"))
        case "postgres in parts":
            on_postgres(deployment, request.getfixturevalue("server"), "parts")
        case _:
            pass  # what `polycopy init` makes
    with deployment.instance() as instance:
        register(instance, WALLETS)
        yield instance


def run(instance: dg.DagsterInstance, write: Write, *, fails: bool = False) -> str:
    """Runs a step that writes the events, as the asset does: without an output. Its run id."""

    @dg.asset(
        key=KEYS.wallets,
        partitions_def=wallets_partitions,
        output_required=False,
        code_version="7",
    )
    def step(context: dg.AssetExecutionContext) -> Iterator[dg.AssetMaterialization]:
        write(context, EVENTS)
        yield from ()

    result = dg.materialize(
        [step], instance=instance, partition_key=WALLETS[0], raise_on_error=False
    )
    assert result.success is not fails
    return result.run_id


def rows(instance: dg.DagsterInstance, run_id: str) -> dict[str, list[Any]]:
    """What the databases hold of the run's materializations, without times and the run's id."""
    storage: Any = event_log(instance)
    logged = sqlalchemy.text(
        "SELECT * FROM event_logs WHERE run_id = :run AND dagster_event_type = :kind ORDER BY id"
    )
    wanted = {"run": run_id, "kind": MATERIALIZED.value}
    with storage.run_connection(run_id) as connection:
        shard = [dict(row) for row in connection.execute(logged, wanted).mappings()]
    with storage.index_connection() as connection:
        index = [dict(row) for row in connection.execute(logged, wanted).mappings()]
        tags = connection.execute(
            sqlalchemy.text("SELECT * FROM asset_event_tags ORDER BY event_id, key")
        )
        keys = connection.execute(sqlalchemy.text("SELECT * FROM asset_keys"))
        found = {
            "shard": shard,
            "index": index,
            "tags": [dict(row) for row in tags.mappings()],
            "keys": [dict(row) for row in keys.mappings()],
        }
    return {name: [_timeless(row, run_id) for row in each] for name, each in found.items()}


def _timeless(row: dict[str, Any], run_id: str) -> dict[str, Any]:
    """A row without ids, which count the other events of a run as well, and without times."""
    timeless = {
        name: value
        for name, value in row.items()
        if name not in {"id", "event_id"} and "timestamp" not in name
    }
    for name in ("event", "last_materialization"):
        if text := timeless.get(name):
            assert run_id in text
            text = re.sub(r'"(timestamp|storage_id)": [0-9.]+', r'"\1": 0', text)
            said = json.loads(text.replace(run_id, "RUN"))
            entry = said if name == "event" else said.get("event_log_entry", said)
            entry["dagster_event"] |= dict.fromkeys(REPEATED)
            timeless[name] = said
    return {name: "RUN" if value == run_id else value for name, value in timeless.items()}


def shown(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What Dagster's own queries, on which its pages rest, say of the wallets and the run."""
    key = KEYS.wallets
    logs = instance.all_logs(run_id, of_type=MATERIALIZED)
    assert [entry.timestamp for entry in logs] == sorted(entry.timestamp for entry in logs)
    latest = instance.get_latest_materialization_event(key)
    assert latest
    return {
        "status": instance.get_status_by_partition(key, WALLETS, wallets_partitions),
        "partitions": instance.get_materialized_partitions(key),
        "versions": record_in(instance).versions(),
        "tags": instance.event_log_storage.get_latest_tags_by_partition(
            key, MATERIALIZED, [materializations.DATA_VERSION_TAG]
        ),
        "fetched": [
            (record.run_id == run_id, record.partition_key, record.asset_materialization)
            for record in instance.fetch_materializations(key, limit=100).records
        ],
        "logs": [_entry(entry, run_id) for entry in logs],
        "latest": _entry(latest, run_id),
        "recorded_by": record_in(instance).recorded_by([run_id]),
        "steps": [
            [each.materialization_events and len(each.materialization_events), each.status]
            for each in instance.get_run_step_stats(run_id)
        ],
        "stats": instance.get_run_stats(run_id).materializations,
    }


def _entry(entry: dg.EventLogEntry, run_id: str) -> dict[str, str]:
    assert entry.run_id == run_id
    fields = ("error_info", "level", "user_message", "step_key", "job_name", "dagster_event")
    said = {name: getattr(entry, name) for name in fields}
    said["dagster_event"] = said["dagster_event"]._replace(**dict.fromkeys(_REPEATED))
    return {name: str(value).replace(run_id, "RUN") for name, value in said.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_events_of_a_batch_equal_events_written_one_by_one(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
):
    stored, said = [], []
    for name, write in (("singly", singly), ("together", log_materializations)):
        with kept(kind, tmp_path / name, request) as instance:
            run_id = run(instance, write)
            stored.append(rows(instance, run_id))
            said.append(shown(instance, run_id))
    assert len(stored[0]["index"]) == len(stored[0]["shard"]) == len(EVENTS)
    assert len(said[0]["logs"]) == len(EVENTS)
    assert stored[1] == stored[0]
    assert said[1] == said[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_that_breaks_off_is_not_recorded_in_part_and_can_be_written_again(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    with kept(kind, tmp_path, request) as instance:
        storage: Any = event_log(instance)
        with monkeypatch.context() as breaking:
            breaking.setattr(type(storage), "_store_asset_event", _broken)
            run(instance, log_materializations, fails=True)
        key = KEYS.wallets
        assert record_in(instance).versions() == {}
        assert instance.fetch_materializations(key, limit=100).records == []
        run_id = run(instance, log_materializations)
        assert set(record_in(instance).versions()) == set(WALLETS)
        assert len(instance.fetch_materializations(key, limit=100).records) == len(EVENTS)
        assert len(rows(instance, run_id)["tags"]) == len(EVENTS)


def _broken(*args: object) -> None:
    if any(getattr(each, "dagster_event_type", None) == MATERIALIZED for each in args):
        raise RuntimeError("the process ends here")


def test_the_line_of_an_event_is_what_the_runs_page_says_and_no_part_of_the_record(
    tmp_path: Path, request: pytest.FixtureRequest
):
    lines = [f"{number}/{len(EVENTS)} wallets" for number in range(1, len(EVENTS) + 1)]

    def together(context: dg.AssetExecutionContext, events: Events) -> None:
        log_materializations(context, events, lines)

    with kept("pooled", tmp_path, request) as instance:
        run_id = run(instance, together)
        logs = instance.all_logs(run_id, of_type=MATERIALIZED)
        assert [entry.message for entry in logs] == lines
        assert [entry.asset_materialization for entry in logs] == list(EVENTS)


def test_nothing_to_write_writes_nothing(tmp_path: Path, request: pytest.FixtureRequest):
    with kept("pooled", tmp_path, request) as instance:

        def nothing(context: dg.AssetExecutionContext, events: Events) -> None:
            log_materializations(context, events[:0])

        run_id = run(instance, nothing)
        assert instance.all_logs(run_id, of_type=MATERIALIZED) == []
