"""`tokens` and `markets`: every condition in the table is asked for until it is final."""

import io
import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from polycopy_assets.assembly import build
from polycopy_assets.automation.schedules import daily_markets
from polycopy_assets.cli.runs import run_job, why_failed
from polycopy_assets.demo.entry import Labels
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.limits import Limits
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import OUR_TAGS, Job
from polycopy_assets.guard.working import Permit
from polycopy_assets.pipeline import dimensions, new_conditions
from polycopy_assets.pipeline.dimensions import DimensionPorts, keep_dimensions
from polycopy_assets.pipeline.new_conditions import Loaded
from polycopy_assets.resources.chosen import source_resource
from polycopy_assets.system.step import Step
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.deployment import Deployed, Deployment

CURRENT = "WHERE valid_until IS NULL"


def new_world() -> World:
    return generate(3, 12, most_trades=120, ledgers=True, markets=120)


def updated(deployment: Deployment, instance: dg.DagsterInstance) -> dict[str, Any]:
    """What a run of the job says of `markets`, and of the check."""
    result = run_job(instance, deployment.settings, Job.MARKETS, {}, Progress())
    assert result.success, why_failed(result)
    events = {
        event.asset_key.to_user_string(): event.step_materialization_data.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    assert events.keys() == {"tokens", "markets"}
    (check,) = result.get_asset_check_evaluations()
    said = {name: value.value for name, value in events["markets"].metadata.items()}
    return {**said, "passed": check.passed, "check": check.description}


def traded(deployment: Deployment) -> set[str]:
    return {row[0] for row in deployment.rows("SELECT DISTINCT condition_id FROM trades")}


def asked(served: Served) -> Counter[str]:
    """The requests by route since the last time."""
    found = Counter(served.state.requests)
    served.state.requests.clear()
    return found


def test_every_condition_is_asked_for_once_and_again_while_it_is_open(deployed: Deployed):
    world = new_world()
    with deployed(world) as (deployment, served), deployment.instance() as instance:
        deployment.want(world.wallets())
        deployment.backfill()
        conditions = traded(deployment)
        assert len(conditions) > 60
        asked(served)
        said = updated(deployment, instance)
        first = asked(served)
        groups = -(-len(conditions) // 20)
        assert first["/v2/resolutions"] == groups
        assert first["/v2/tokens"] <= 2 * groups
        assert first["/markets/keyset"] <= 2 * groups
        assert said["requests"] == sum(first.values())
        assert (said["conditions"], said["asked"]) == (len(conditions), len(conditions))
        _agree(deployment, world, conditions)

        still_open = {
            row[0]
            for row in deployment.rows(
                "SELECT condition_id FROM markets"
                f" {CURRENT} AND NOT (closed AND resolution_status = 'resolved')"
            )
        }
        assert 0 < len(still_open) < len(conditions)
        again = updated(deployment, instance)
        second = asked(served)
        groups = -(-len(still_open) // 20)
        assert (again["asked"], again["changed"]) == (len(still_open), 0)
        assert second["/v2/resolutions"] == second["/markets/keyset"] == groups
        assert groups <= second["/v2/tokens"] <= 2 * groups

        ended = min(still_open)
        world.resolve(ended, (1_000_000, 0), 1_795_000_000)
        after = updated(deployment, instance)
        assert after["changed"] == 1
        rows = deployment.rows(
            "SELECT closed, payout_0, valid_until IS NULL FROM markets"
            " WHERE condition_id = $ended ORDER BY valid_from",
            ended=ended,
        )
        assert rows == [(False, None, False), (True, Decimal(1), True)]
        asked(served)
        updated(deployment, instance)
        assert asked(served)["/v2/resolutions"] == -(-(len(still_open) - 1) // 20)
        _scheduled(deployment, instance)
        code, said = deployment.here("markets", "--json")
        assert code == 0
        assert json.loads(said) == {
            "conditions": len(conditions),
            "asked": len(still_open) - 1,
            "changed": 0,
            "requests": json.loads(said)["requests"],
            "unknown": 0,
            "refused": 0,
        }


def _agree(deployment: Deployment, world: World, conditions: set[str]) -> None:
    """Both tables say what the world knows of what was traded."""
    known = {condition.lower(): market for condition, market in world.markets.items()}
    rows = deployment.rows(
        "SELECT condition_id, question, market_slug, event_slug, neg_risk, fees_enabled, fee_rate,"
        f" payout_0, payout_1 FROM markets {CURRENT}"
    )
    assert {row[0] for row in rows} == conditions
    for condition, *row in rows:
        market = known[condition]
        payouts = (
            [None, None] if market.payouts is None else [Decimal(p) / 10**6 for p in market.payouts]
        )
        assert row == [
            market.question,
            market.slug,
            market.event_slug,
            bool(market.neg_risk_id),
            market.fee > 0,
            Decimal(market.fee) / 10_000 if market.fee else None,
            *payouts,
        ]
    tokens = deployment.rows(
        f"SELECT condition_id, outcome_index, token_id, outcome, resolved FROM tokens {CURRENT}"
    )
    assert {(condition, index): token for condition, index, token, _, _ in tokens} == {
        (condition, index): token
        for condition in conditions
        for index, token in enumerate(known[condition].tokens)
        if token
    }


def _scheduled(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    assert daily_markets.default_status == dg.DefaultScheduleStatus.STOPPED
    definitions = build(deployment.settings)

    def ticked() -> object:
        with dg.build_schedule_context(instance, resources=definitions.resources) as context:
            return daily_markets(context)

    assert isinstance(ticked(), dg.RunRequest)
    run = instance.create_run_for_job(
        definitions.resolve_job_def(Job.MARKETS.value),
        status=dg.DagsterRunStatus.STARTED,
        tags=dict(OUR_TAGS),
    )
    assert ticked() == dg.SkipReason(f"run {run.run_id} is still asking")
    instance.report_run_canceled(run)


def in_parquet(condition: str) -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"condition_id": [condition]}).write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize(
    "left",
    [None, b"", b"no Parquet", 100, in_parquet(f"0x{1:064x}")],
    ids=["gone", "empty", "no Parquet", "cut", "of other conditions"],
)
def test_parts_that_are_gone_or_damaged_hide_no_condition(
    deployed: Deployed, left: bytes | int | None
):
    world = new_world()
    with deployed(world) as (deployment, _), deployment.instance() as instance:
        deployment.want(world.wallets())
        deployment.backfill()
        parts = [item.name for item in deployment.store.list("combined/parts/")]
        for name in parts:
            path = deployment.root / "store" / name
            whole = path.read_bytes()
            path.unlink()
            if left is not None:
                path.write_bytes(whole[:left] if isinstance(left, int) else left)
        said = updated(deployment, instance)
        conditions = traded(deployment)
        assert len(conditions) > 60
        assert (said["conditions"], said["unknown"]) == (len(conditions), 0)
        _agree(deployment, world, conditions)
        assert updated(deployment, instance)["conditions"] == len(conditions)


def test_a_damaged_object_is_named_with_what_to_delete_and_everything_is_asked_for_again(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
):
    world = new_world()
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        assert deployment.here("markets")[0] == 0
        folder = deployment.root / "store/dimensions"
        first = min(folder.glob("*.gz"))
        first.write_bytes(first.read_bytes()[:100])
        capsys.readouterr()
        assert deployment.here("markets")[0] == 1
        said = capsys.readouterr().err
        assert f"dimensions/{first.name} is damaged: " in said
        assert "; delete the folder dimensions/, and start this again" in said
        shutil.rmtree(folder)
        assert deployment.here("markets")[0] == 0
        _agree(deployment, world, traded(deployment))


def test_a_condition_that_nobody_knows_is_named_and_found_later(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
):
    world = new_world()
    with deployed(world) as (deployment, served), deployment.instance() as instance:
        deployment.want(world.wallets())
        deployment.backfill()
        conditions = traded(deployment)
        served.state.labels = Labels(lag=10**10)
        hidden = world.markets.pop(next(c for c in world.markets if c.lower() in conditions))
        world.version += 1
        code, text = deployment.here("markets", "--json")
        assert (code, json.loads(text)["unknown"]) == (0, 1)
        assert hidden.condition_id.lower() in capsys.readouterr().err
        _, text = deployment.here("markets")
        assert text.endswith(f"; {len(conditions)} conditions in all, 1 of them unknown\n")
        said = updated(deployment, instance)
        assert (said["unknown"], said["passed"]) == (1, False)
        assert hidden.condition_id.lower() in said["check"]
        assert deployment.rows(
            f"SELECT condition_id, question FROM markets {CURRENT} AND NOT known"
        ) == [(hidden.condition_id.lower(), None)]

        served.state.labels = Labels()
        world.markets[hidden.condition_id] = hidden
        world.version += 1
        found = updated(deployment, instance)
        assert (found["unknown"], found["passed"]) == (0, True)
        _agree(deployment, world, conditions)


# -- killed, refused, over the budget -----------------------------------------------------------


def ports(root: Path, url: str, **settings: str) -> DimensionPorts:
    deployment = Deployment(root, url, **settings)
    table = DuckDBWarehouse(Path(deployment.settings.warehouse))
    return DimensionPorts(
        store=deployment.store.whole,
        loaded=[
            Loaded(
                deployment.store,
                frozenset(table.table(TRADES).loaded_batches()),
                table.table(TRADES).conditions,
            )
        ],
        tables=table.dimensions,
        open_source=source_resource(deployment.settings).dimensions(
            Progress(), Permit(lambda: None, float("inf"))
        ),
        check=lambda: None,
        step=Step(),
    )


DOOMED = """
import os, signal, sys
from pathlib import Path
from polycopy_assets.store import dimensions as facts
from polycopy_assets.store.local import LocalStore
import polycopy_assets_tests.dagster.test_markets as test_markets

step, root, url = sys.argv[1:]
test_markets.dimensions.CHANGE, facts.FOLD_AFTER = 15, 2
created = LocalStore.create

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def create(self, name, data, *rest):
    is_facts = name.startswith("dimensions/0")
    if step == "before" and is_facts:
        die()
    created(self, name, data, *rest)
    if (step == "after" and is_facts) or (step == "file" and name.startswith("dimensions/tables/")):
        die()

LocalStore.create = create
if step == "folded":
    LocalStore.delete = die
test_markets.keep_dimensions(test_markets.ports(Path(root), url))
"""
"""Updates both tables in a process of its own, which is killed at a step."""


def killed(step: str, root: Path, url: str) -> bool:
    """Whether the process was killed there."""
    ended = subprocess.run([sys.executable, "-c", DOOMED, step, str(root), url], check=False)
    return ended.returncode == -signal.SIGKILL


@pytest.mark.parametrize("step", ["before", "after", "file", "folded"])
def test_a_kill_at_any_step_loses_no_answer_that_was_durable(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, step: str
):
    monkeypatch.setattr(dimensions, "CHANGE", 15)
    monkeypatch.setattr("polycopy_assets.store.dimensions.FOLD_AFTER", 2)
    world = new_world()
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        deployment.backfill()
        conditions = traded(deployment)
        assert killed(step, deployment.root, served.url)
        asked(served)
        kept = keep_dimensions(ports(deployment.root, served.url))
        requests = asked(served)
        assert kept.conditions == len(conditions)
        if step in {"file", "folded"}:
            assert kept.changed == 0, "everything was durable"
        assert requests["/v2/resolutions"] <= -(-len(conditions) // 20)
        _agree(deployment, world, conditions)
        assert len(list(deployment.store.list("dimensions/"))) <= 5


def test_what_is_no_condition_is_named_and_everything_else_is_answered(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = new_world()
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        deployment.backfill()
        conditions = traded(deployment)
        odd, nobodys = {"no condition", "0x\u202e"}, "0x" + "00" * 31
        found = new_conditions.conditions_in
        monkeypatch.setattr(
            new_conditions,
            "conditions_in",
            lambda store, batches: (
                (n, values | odd | {nobodys}) for n, values in found(store, batches)
            ),
        )
        kept = keep_dimensions(ports(deployment.root, served.url))
        assert kept.odd == sorted(odd)
        assert (kept.refused, kept.unknown) == ({}, [f"{nobodys}00"])
        rows = deployment.rows(f"SELECT condition_id FROM markets {CURRENT} AND known")
        assert {row[0] for row in rows} == conditions


def test_the_budget_of_a_route_holds_at_the_server(deployed: Deployed):
    world = new_world()
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        deployment.backfill()
        served.state.limits = Limits(
            {"/v2/tokens": (3, 1.0), "/markets": (4, 1.0), "/v2/": (6, 1.0)}
        )
        every = ports(
            deployment.root,
            served.url,
            POLYCOPY_RATE_LIMIT="6/1",
            POLYCOPY_ROUTE_LIMITS="/v2/tokens=3/1;/markets/keyset=4/1",
        )
        kept = keep_dimensions(every)
        assert kept.conditions == len(traded(deployment))
        assert served.state.limits.refused.total() == 0


def test_a_source_of_trades_alone_and_the_wrong_directory_are_said(deployment: Deployment):
    if deployment.settings.instance == "files":  # else the directory may be empty
        nothing = deployment.polycopy("markets")
        assert nothing.returncode == 2
        assert "there is nothing in" in nothing.stderr
        assert not list(deployment.root.rglob("dagster.yaml"))
    assert deployment.polycopy("init").returncode == 0
    dome = {"POLYCOPY_SOURCE": "dome", "DOME_API_KEY": "abcdefghijklmnop"}
    done = deployment.polycopy("markets", environ=dome)
    assert done.returncode == 1
    assert "POLYCOPY_SOURCE='dome' has no list of markets" in done.stderr
