"""The asset graph and what starts it, pinned: a change of either has to be meant.

What people read and write (descriptions, columns, the fields of a configuration) is pinned by a
digest. After a change that is meant: `python -m polycopy_assets_tests.dagster.test_graph`.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg

from polycopy_assets.definitions import build
from polycopy_assets.guard.ours import Job
from polycopy_assets.settings import read_settings

SNAPSHOT = Path(__file__).parent / "graph.json"


ADDED = {
    "assets": {"wallet_activity", "combined_activity", "activity", "reconciliation_activity"},
    "checks": {
        "traders: no_wallet_failed_activity",
        "traders: no_wallet_late_activity",
        "traders: no_contract_breaks_activity",
        "traders: store_has_the_record_activity",
        "combined_activity: record_has_its_data",
        "combined_activity: batches_hold",
        "activity: no_duplicate_ids",
        "activity: rows_match_record",
        "activity: activity_has_every_trade",
        "activity: no_holding_below_zero",
        "reconciliation_activity: ledgers_agree",
    },
    "jobs": {"fetch_activity", "load_activity", "reconcile_activity"},
    "sensors": {"wallets_without_activity", "new_activity"},
    "schedules": {"daily_refresh_activity"},
}
"""What the second feed has of its own."""

OF_ALL_FEEDS = {"check", "audit", "update_markets"}
"""The jobs that have checks of every feed."""

ABOUT_ALL_FEEDS = {"tokens", "markets", "markets: every_condition_is_known"}
"""What is made from the tables of every feed, and says so."""


def graph(**chosen: str) -> dict[str, Any]:
    definitions = build(read_settings(chosen))
    resolved = definitions.resolve_asset_graph()
    return {
        "assets": {
            key.to_user_string(): _asset(resolved.get(key))
            for key in sorted(resolved.get_all_asset_keys())
        },
        "checks": {
            f"{k.asset_key.to_user_string()}: {k.name}": _checked(resolved.get_check_spec(k))
            for k in sorted(resolved.asset_check_keys)
        },
        "jobs": {
            job.name: _job(definitions.resolve_job_def(job.name)) for job in definitions.jobs or []
        },
        "sensors": {each.name: _sensor(each) for each in definitions.sensors or []},
        "schedules": {each.name: _schedule(each) for each in definitions.schedules or []},
    }


def _asset(node: Any) -> dict[str, object]:
    condition = node.automation_condition
    return {
        "depends_on": sorted(key.to_user_string() for key in node.parent_keys),
        "partitions": getattr(node.partitions_def, "name", None),
        "group": node.group_name,
        "kinds": sorted(node.kinds),
        "owners": list(node.owners),
        "tags": sorted(key for key in node.tags if not key.startswith("dagster/")),
        "executable": node.is_executable,
        "described": _described(node),
        "columns": [column.name for column in node.metadata["dagster/column_schema"].columns],
        "pools": sorted(node.pools or ()),
        "backfill_policy": node.backfill_policy and node.backfill_policy.policy_type.value,
        "automation": condition and condition.get_label(),
    }


def _described(node: Any) -> str:
    """The digest of all that people read of an asset, and of what its configuration accepts."""
    assert node.description, node.key
    op = node.assets_def.node_def
    fields = getattr(op.config_schema.config_type, "fields", {}) if node.is_executable else {}
    config = {
        name: (
            field.description,
            repr(field.config_type.given_name),
            field.default_value_as_json_str,
        )
        for name, field in sorted(fields.items())
    }
    columns = node.metadata["dagster/column_schema"].columns
    return _digest(
        node.description,
        node.code_version,
        sorted(node.metadata),
        [(column.name, column.type, column.description) for column in columns],
        config,
        node.freshness_policy,
    )


def _checked(spec: dg.AssetCheckSpec) -> str:
    deps = sorted(dep.asset_key.to_user_string() for dep in spec.additional_deps)
    return _digest(spec.description, deps, spec.blocking, sorted(spec.metadata or ()))


def _digest(*read: object) -> str:
    return hashlib.sha256(repr(read).encode()).hexdigest()[:16]


def _job(job: dg.JobDefinition) -> dict[str, object]:
    layer = job.asset_layer
    return {
        "ops": sorted(node.name for node in job.nodes),
        "partitions": getattr(job.partitions_def, "name", None),
        "assets": sorted(key.to_user_string() for key in layer.selected_asset_keys),
        "checks": sorted(
            f"{key.asset_key.to_user_string()}: {key.name}"
            for key in layer.asset_graph.asset_check_keys
        ),
        "executor": job.executor_def.name,
        "tags": dict(job.tags),
        "described": _digest(job.description),
    }


def _sensor(sensor: dg.SensorDefinition) -> dict[str, object]:
    return {
        "starts": sorted(target.job_name for target in sensor.targets),
        "default": sensor.default_status.value,
        "seconds": sensor.minimum_interval_seconds,
        "described": _digest(sensor.description),
    }


def _schedule(schedule: Any) -> dict[str, object]:
    return {
        "starts": schedule.job_name,
        "default": schedule.default_status.value,
        "cron": schedule.cron_schedule,
        "timezone": schedule.execution_timezone,
        "described": _digest(schedule.description),
    }


def test_a_job_is_resolved_without_a_warning():
    """Dagster copies sensors that have a job which is no asset job, and warns of their owners."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", dg.BetaWarning)
        for name in (Job.FETCH, Job.LOAD):
            build(read_settings({})).resolve_job_def(name.value)


def test_the_asset_graph_is_the_one_that_was_agreed():
    assert graph() == json.loads(SNAPSHOT.read_text())
    # Dagster's servers refuse what is fine in one process: a job with the name of an asset's step.
    jobs = build(read_settings({})).get_repository_def().get_all_jobs()
    assert {job.name for job in jobs} >= set(Job)


def test_a_second_feed_adds_its_own_and_changes_nothing_of_the_first():
    one, two = json.loads(SNAPSHOT.read_text()), graph(POLYCOPY_FEEDS="activity,trades")
    for kind, names in ADDED.items():
        assert two[kind].keys() - one[kind].keys() == names, kind
        for name, found in one[kind].items():
            if name not in OF_ALL_FEEDS | ABOUT_ALL_FEEDS:
                assert two[kind][name] == found, name
    for name in ABOUT_ALL_FEEDS & two["assets"].keys():
        of_one, of_two = one["assets"][name], two["assets"][name]
        assert of_two.pop("described") != of_one.pop("described")
        assert of_two == {**of_one, "depends_on": ["activity", "trades"]}
    for name in OF_ALL_FEEDS:
        added = set(two["jobs"][name]["checks"]) - set(one["jobs"][name]["checks"])
        assert added
        assert added < ADDED["checks"]
    jobs = two["jobs"]
    assert jobs["fetch_activity"]["ops"] == ["wallet_activity"]
    assert jobs["load_activity"]["assets"] == ["activity", "combined_activity"]
    assert two["sensors"]["wallets_without_activity"]["starts"] == ["fetch_activity"]
    assert two["sensors"]["new_activity"]["starts"] == ["load_activity"]
    assert {tuple(two["assets"][n]["pools"]) for n in ("wallet_trades", "wallet_activity")} == {
        ("source",)
    }, "one budget for both"
    build(read_settings({"POLYCOPY_FEEDS": "trades,activity"})).get_repository_def().get_all_jobs()


if __name__ == "__main__":
    with patch.dict("os.environ"):
        SNAPSHOT.write_text(json.dumps(graph(), indent=2) + "\n")
