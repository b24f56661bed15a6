"""What people read in Dagster: numbers of all wallets, tags, descriptions, nothing empty."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.snap import JobSnap
from dagster._core.snap.snap_to_yaml import default_values_yaml_from_type_snap
from dagster._core.storage.tags import TagType, get_tag_type
from dagster._core.test_utils import create_run_for_test

from polycopy_assets.assets.load_events import qualified
from polycopy_assets.automation.sensors import checks_due, new_wallets
from polycopy_assets.definitions import build, defs
from polycopy_assets.demo.generate import generate
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.guard.heartbeat import has_taken_its_lock, run_lock
from polycopy_assets.guard.ours import OUR_TAGS
from polycopy_assets.settings import read_settings
from polycopy_assets_tests.days import skipped, ticked
from polycopy_assets_tests.deployment import Deployed, Deployment, records_of
from polycopy_assets_tests.of_trades import KEYS, record_in

ROOT = Path(__file__).parents[2]


def latest(instance: dg.DagsterInstance) -> dg.EventLogRecord:
    return instance.fetch_materializations(KEYS.wallets, limit=1).records[0]


def numbers(instance: dg.DagsterInstance) -> dict[str, object]:
    found = latest(instance)
    assert (found.partition_key, found.run_id) == (None, RUNLESS_RUN_ID)
    assert found.asset_materialization
    return {name: value.value for name, value in found.asset_materialization.metadata.items()}


def test_the_overview_has_the_numbers_of_all_wallets_and_why_some_failed(deployed: Deployed):
    world = generate(81, 4, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    bad = wallets[1]
    with deployed(world) as (deployment, served), deployment.instance() as instance:
        served.state.faults.set_wallets({bad: "404"})
        deployment.want(wallets)
        deployment.fetch(instance)
        rows = sum(len(world.truth(wallet)) for wallet in wallets if wallet != bad)
        said = numbers(instance)
        assert (said["wallets"], said["complete"], said["remaining"]) == (4, 3, 1)
        assert (said["failed"], said["dagster/row_count"]) == (1, rows)
        assert next(iter(said)) == "first_failed", "why wallets failed stands first"
        shown = str(said["first_failed"])
        assert bad in shown
        assert "refused with 404" in shown
        assert shown.count(bad) == 1, "each address once"
        (tried,) = instance.fetch_observations(
            dg.AssetRecordsFilter(asset_key=KEYS.wallets, asset_partitions=[bad]), limit=9
        ).records
        assert tried.asset_observation
        assert list(tried.asset_observation.metadata)[:2] == ["failed_at", "next_attempt"]
        assert set(record_in(instance).versions()) == {*wallets} - {bad}, "it commits nothing"

        (run,) = instance.get_runs()
        visible = {k: v for k, v in run.tags.items() if get_tag_type(k) != TagType.HIDDEN}
        assert has_taken_its_lock(run)
        assert visible.pop("polycopy/started_by") == "the command polycopy"
        assert visible.pop("polycopy/wallets") == "4"
        assert "polycopy/code" not in visible
        recorded = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        assert len(recorded) == 3
        for each in recorded:
            assert re.fullmatch(r"[1-4]/4 wallets: (\d+) new trades?, \1 in all", each.message)
        assert run.run_id not in str(visible), "the name of a lock is for machines"

        for record in records_of(instance, wallets):
            assert next(iter(record.metadata)) == "covered_until", "dates first"
            assert re.fullmatch(r"1 segment, \d.* (bytes|kB)", str(record.metadata["stored"].value))

        before = latest(instance).storage_id
        deployment.fetch(instance, wallets=[bad])
        assert numbers(instance)["failed"] == 1
        assert latest(instance).storage_id == before, "nothing was materialized"

        served.state.faults.set_wallets({})
        deployment.fetch(instance, wallets=[bad])
        said = numbers(instance)
        assert (said["complete"], said["failed"]) == (4, 0)
        assert not {"first_failed", "what_to_do"} & said.keys()
        before = latest(instance).storage_id
        deployment.fetch(instance)
        assert latest(instance).storage_id == before, "the same numbers are not written again"

        _nothing_empty_is_shown(deployment, instance)


def _nothing_empty_is_shown(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    """Checks that pass show what they counted, and no empty table, no empty JSON, no advice."""
    names = set()
    for job in ("load", "check", "audit", "reconcile"):
        config = {"ops": {"reconciliation": {"config": {"apply": True}}}}
        result = (
            build(deployment.settings)
            .resolve_job_def(job)
            .execute_in_process(instance=instance, run_config=config if job == "reconcile" else {})
        )
        for each in result.get_asset_check_evaluations():
            names.add(each.check_name)
            assert each.passed, each
            assert "what_to_do" not in each.metadata, each.check_name
            for value in each.metadata.values():
                empty = (isinstance(value, dg.JsonMetadataValue) and not value.data) or (
                    isinstance(value, dg.TableMetadataValue) and not value.records
                )
                assert not empty, each
    loaded = instance.get_latest_materialization_event(dg.AssetKey("trades"))
    assert loaded
    assert loaded.asset_materialization
    lineage = loaded.asset_materialization.metadata["dagster/column_lineage"].value
    assert isinstance(lineage, dg.TableColumnLineage)
    assert lineage.deps_by_column["price"][0].asset_key == dg.AssetKey("combined_trades")
    assert {"ledgers_agree", "no_wallet_failed", "rows_match_record"} <= names
    lines = [each.user_message for each in instance.all_logs(result.run_id)]
    assert any("4 wallets are in order: there was nothing to do" in line for line in lines)


def test_the_table_has_a_qualified_name():
    assert qualified("/data/warehouse.duckdb", "trades") == "warehouse.main.trades"
    assert qualified("bigquery://my-project/poly", "trades") == "my-project.poly.trades"


def test_the_sensor_observes_traders_when_it_has_changed(deployment: Deployment):
    deployment.want(["0x" + "a" * 40])
    with deployment.instance() as instance:
        first = ticked(new_wallets, instance, deployment)
        (seen,) = first.asset_events
        assert (seen.asset_key.to_user_string(), seen.metadata["dagster/row_count"].value) == (
            "traders",
            1,
        )
        again = ticked(new_wallets, instance, deployment, first.cursor)
        assert not again.asset_events
        deployment.warehouse.add_traders(["0x" + "b" * 40])
        (seen,) = ticked(new_wallets, instance, deployment, again.cursor).asset_events
        assert seen.metadata["dagster/row_count"].value == 2


def test_no_checks_start_between_the_runs_of_a_backfill(deployment: Deployment):
    with deployment.instance() as instance:

        def run(job: str, **tags: str) -> dg.DagsterRun:
            return create_run_for_test(instance, job_name=job, tags={**OUR_TAGS, **tags})

        of_backfill = {"dagster/backfill": "abc"}
        instance.report_run_failed(run("check"))
        instance.report_run_failed(run("fetch", **of_backfill))
        assert ticked(checks_due, instance, deployment).run_requests, "a fetch has ended"
        waiting = run("fetch", **of_backfill)
        assert "checked" in skipped(ticked(checks_due, instance, deployment))
        instance.report_run_failed(waiting)
        assert ticked(checks_due, instance, deployment).run_requests


def test_a_run_of_an_earlier_version_is_known_by_its_tags(deployment: Deployment):
    """Earlier versions wrote the name of the lock into a tag that people see."""
    with deployment.instance() as instance:
        run = create_run_for_test(
            instance, job_name="fetch", status=dg.DagsterRunStatus.STARTED, tags=OUR_TAGS
        )
        assert end_dead_runs(instance) == {}
        instance.add_run_tags(run.run_id, {"polycopy/lock": run_lock(run.run_id)})
        assert end_dead_runs(instance) == {run.run_id: "the process that ran it has ended"}


def test_the_page_of_an_asset_names_the_file_of_its_code():
    for asset in defs.assets or ():
        assert isinstance(asset, dg.AssetsDefinition)
        for key in asset.keys:
            found = asset.metadata_by_key[key]["dagster/code_references"]
            assert isinstance(found, dg.CodeReferencesMetadataValue)
            (named,) = found.code_references
            assert isinstance(named, dg.LocalFileCodeReference)
            assert named.line_number
            lines = Path(named.file_path).read_text().splitlines()[named.line_number - 1 :]
            assert lines[0].lstrip().startswith("@"), "the first decorator of its function"
            function = next(each for each in lines if each.lstrip().startswith("def "))
            assert isinstance(asset.op.compute_fn, DecoratedOpFunction)
            assert f"def {asset.op.compute_fn.name}(" in function


def test_what_a_launchpad_opens_with_is_what_dagster_reads_back():
    """The page writes text without quotes where YAML 1.2 needs none; Dagster reads YAML 1.1."""
    definitions = build(read_settings({"POLYCOPY_FEEDS": "trades,activity"}))
    seen = 0
    for job in definitions.resolve_all_job_defs():
        snap = JobSnap.from_job_def(job)
        key = snap.mode_def_snaps[0].root_config_key
        assert key
        root = snap.config_schema_snapshot.get_config_snap(key)
        text = default_values_yaml_from_type_snap(snap.config_schema_snapshot, root)
        for path, value in _texts(yaml.safe_load(text), job.name):
            seen += 1
            assert value.lower() not in {"yes", "no", "on", "off", "y", "n"}, path
    assert seen > 100


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The texts in a configuration, each with its path."""
    if isinstance(value, str):
        yield path, value
    items = value.items() if isinstance(value, dict) else []
    items = enumerate(value) if isinstance(value, list) else items
    for key, below in items:
        yield from _texts(below, f"{path}.{key}")


def test_every_description_says_first_what_it_does_and_names_a_page_that_there_is():
    definitions = build(read_settings({"POLYCOPY_FEEDS": "trades,activity"}))
    graph = definitions.resolve_asset_graph()
    described = {
        key.to_user_string(): graph.get(key).description for key in graph.get_all_asset_keys()
    }
    parts = (
        *(definitions.jobs or ()),
        *(definitions.sensors or ()),
        *(definitions.schedules or ()),
    )
    described |= {each.name: each.description for each in parts}
    assert len(described) > 20
    for name, text in described.items():
        first, _, rest = (text or "").partition("\n\n")
        assert 10 < len(first) < 100, name
        found = re.findall(r"More: docs/(\w+\.md)(?:, '(.+)')?\.$", rest)
        assert found or name in {"fetch", "fetch_activity"}, name
        for page, heading in found:
            there = (ROOT / "docs" / page).read_text()
            assert not heading or re.search(rf"^##+ {re.escape(heading)}$", there, re.MULTILINE), (
                name
            )
    assert "wallets: [" in str(described["fetch"])
    assert "wallets: [" in str(described["wallet_trades"])

    # What is of the second feed names its own rows and jobs.
    config: Any = graph.get(dg.AssetKey("wallet_activity")).assets_def.node_def.config_schema
    fields = config.config_type.fields.items()
    of_activity = {name: text for name, text in described.items() if name.endswith("activity")}
    of_activity |= {f"config: {name}": field.description for name, field in fields}
    assert len(of_activity) > 12
    for name, text in of_activity.items():
        assert not re.search(r"trades?\b|`(fetch|load|reconcile)`", text or ""), name
    assert "the job `fetch_activity` takes" in str(of_activity["config: select"])
