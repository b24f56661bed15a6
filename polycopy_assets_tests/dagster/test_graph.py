"""The asset graph and what starts it, pinned: a change of either has to be meant."""

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


def graph() -> dict[str, object]:
    definitions = build(read_settings({}))
    resolved = definitions.resolve_asset_graph()
    return {
        "assets": {
            key.to_user_string(): _asset(resolved.get(key))
            for key in sorted(resolved.get_all_asset_keys())
        },
        "checks": sorted(
            f"{k.asset_key.to_user_string()}: {k.name}" for k in resolved.asset_check_keys
        ),
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
        "described": bool(node.description),
        "columns": [column.name for column in node.metadata["dagster/column_schema"].columns],
        "pools": sorted(node.pools or ()),
        "backfill_policy": node.backfill_policy and node.backfill_policy.policy_type.value,
        "automation": condition and condition.get_label(),
    }


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
        "described": bool(job.description),
    }


def _sensor(sensor: dg.SensorDefinition) -> dict[str, object]:
    return {
        "starts": sorted(target.job_name for target in sensor.targets),
        "default": sensor.default_status.value,
        "seconds": sensor.minimum_interval_seconds,
        "described": bool(sensor.description),
    }


def _schedule(schedule: Any) -> dict[str, object]:
    return {
        "starts": schedule.job_name,
        "default": schedule.default_status.value,
        "cron": schedule.cron_schedule,
        "timezone": schedule.execution_timezone,
        "described": bool(schedule.description),
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


if __name__ == "__main__":
    with patch.dict("os.environ"):
        SNAPSHOT.write_text(json.dumps(graph(), indent=2) + "\n")
