"""The commands, with several feeds: each says what there is of all, and removes all."""

import csv
import json
from collections import Counter

import dagster as dg
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.feeds.activity.shapes import TYPES
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.settings.feeds import WITHOUT
from polycopy_assets_tests.deployment import Deployed, Deployment, truth


def said(deployment: Deployment, *args: str) -> str:
    code, text = deployment.here(*args)
    assert code == 0, text[-2000:]
    return text


def a_wallet_fails_in_one_feed(deployment: Deployment, served: Served, wallet: str) -> None:
    """It is said in which, and what to do about that one. The others are complete after that."""
    served.state.faults.set_wallets({wallet: "activity:404"})
    code, failed = deployment.here("backfill", "--json")
    assert (code, json.loads(failed)["failed"], json.loads(failed)["complete"]) == (1, 1, 4)
    listed = json.loads(said(deployment, "wallets", "list", "--json"))["wallets"]
    (one,) = [each for each in listed if each["state"] == "failed"]
    assert (one["wallet"], one["states"]) == (
        wallet,
        {"trades": "complete", "activity": "failed", "tips": "complete"},
    )
    assert "permanent: rows of activity" in one["error"]
    shown = said(deployment, "wallets", "list").splitlines()
    assert shown[0].split()[:5] == ["wallet", "state", "trades", "activity", "tips"]
    assert len(shown) == 6
    with deployment.instance() as instance:
        overview = instance.get_latest_materialization_event(dg.AssetKey("wallet_activity"))
    assert overview
    assert overview.asset_materialization
    to_do = str(overview.asset_materialization.metadata["what_to_do"].value)
    assert "the job `fetch_activity` with" in to_do
    served.state.faults.set_wallets({})


def test_every_command_knows_all_feeds(deployed: Deployed, capsys: pytest.CaptureFixture[str]):
    world = generate(23, 5, whales=0, most_trades=60, ledgers=True)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with deployed(world) as (deployment, served):
        deployment.want(wallets)
        deployment.backfill()
        before = json.loads(said(deployment, "status", "--json"))
        assert "feeds" not in before, "with one feed nothing is said of feeds"
        assert not served.state.activity.requests
        assert deployment.here("export", "--table", "tips", "--to", "tips.csv")[0] == 1
        assert "yet, which `polycopy backfill` makes with POLYCOPY_FEEDS=trades,tips. Is " in (
            capsys.readouterr().err
        )
        deployment.environ["POLYCOPY_FEEDS"] = "trades,activity,tips"
        deployment.environ[WITHOUT] = "DEPOSIT,WITHDRAWAL"

        # What is collected from now on remains to be fetched.
        now = json.loads(said(deployment, "status", "--json"))
        assert (now["complete"], now["remaining"]) == (0, 5)
        assert now["next_steps"] == ["`polycopy backfill` fetches what remains"]
        listed = json.loads(said(deployment, "wallets", "list", "--json"))["wallets"]
        assert {each["state"] for each in listed} == {"remaining"}
        served.state.counts.reset()

        a_wallet_fails_in_one_feed(deployment, served, wallets[1])
        report = deployment.backfill()
        assert (report.complete, report.errors, report.failed_checks) == (5, [], [])
        assert not served.state.counts.requests, "the trades were complete"

        trades = truth(world).total()
        ((rows,),) = deployment.rows("SELECT COUNT(*) FROM {}activity")
        assert rows > trades
        kinds = {kind for (kind,) in deployment.rows("SELECT DISTINCT type FROM {}activity")}
        assert kinds.isdisjoint({"DEPOSIT", "WITHDRAWAL", "TIP"})
        ((tips,),) = deployment.rows("SELECT COUNT(*) FROM {}tips")
        given = Counter(each.type for wallet in wallets for each in world.entries(wallet))
        assert tips == given["TIP"] > 0
        now = json.loads(said(deployment, "status", "--json"))
        done = {"complete": 5, "remaining": 0, "failed": 0}
        assert now["feeds"] == [
            {"feed": "trades", **done, "rows": trades, "table_rows": trades},
            {"feed": "activity", **done, "rows": rows, "table_rows": rows},
            {"feed": "tips", **done, "rows": tips, "table_rows": tips},
        ]
        assert f"{rows:,} in the table" in said(deployment, "status")
        assert json.loads(said(deployment, "status", "--failed", "--json")) == {"failed": []}
        listed = json.loads(said(deployment, "wallets", "list", "--json"))["wallets"]
        assert {each["state"] for each in listed} == {"complete"}
        assert sum(each["rows"]["activity"] for each in listed) == rows

        found = deployment.reconcile()
        assert found["counts"] == found["feeds"]["activity"]["counts"] == {"consistent": 5}
        to = deployment.root / "activity.csv"
        said(deployment, "export", "--table", "activity", "--to", str(to), "--wallet", wallets[0])
        with to.open() as file:
            exported = list(csv.DictReader(file))
        assert {each["wallet_address"] for each in exported} == {wallets[0]}
        assert {"usdc", "is_combo"} <= exported[0].keys()
        asked = said(deployment, "query", "--json", "SELECT COUNT(*) AS rows FROM activity")
        assert json.loads(asked) == [{"rows": rows}]

        _what_is_left_out_stays_so(deployment, served, capsys)
        _all_feeds_are_purged(deployment, wallets[0])


def _what_is_left_out_stays_so(
    deployment: Deployment, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.environ["POLYCOPY_FEEDS"] = "trades,activity"
    capsys.readouterr()
    served.state.counts.reset()
    for other, given in (("", " is not set"), ("DEPOSIT", "=DEPOSIT")):
        deployment.environ[WITHOUT] = other
        assert deployment.here("backfill", "--refresh")[0] == 2, "a wrong setting"
        refused = capsys.readouterr().err
        assert refused.startswith(f"polycopy: {WITHOUT}{given}, and ")
        assert "was begun without DEPOSIT, WITHDRAWAL, and stays so" in refused
    assert not served.state.counts.requests, "not even trades"


def _all_feeds_are_purged(deployment: Deployment, wallet: str) -> None:
    """Also those that are collected no more."""
    deployment.environ["POLYCOPY_FEEDS"] = "trades"
    purged = said(deployment, "wallets", "remove", "--purge", wallet)
    assert "what was collected of 1 wallet is deleted" in purged
    for table in FEEDS:
        left = deployment.rows(
            f"SELECT COUNT(*) FROM {{}}{table} WHERE wallet_address = @wallet",
            wallet=wallet,
        )
        assert left == [(0,)], table
    for feed in FEEDS.values():
        assert not list(deployment.store.list(feed.names.wallet(wallet))), feed.name
        assert list(deployment.store.list(feed.names.segments)), "others keep theirs"


def test_a_type_that_nobody_knows_is_kept_and_a_backfill_warns_of_it(
    deployed: Deployed, capsys: pytest.CaptureFixture[str]
):
    world = generate(23, 3, whales=0, most_trades=60, ledgers=True)
    wallet = max(world.wallets(), key=lambda each: len(world.entries(each)))
    with deployed(world, POLYCOPY_FEEDS="trades,activity") as (deployment, served):
        served.state.faults.set_wallets({wallet: "unknown_type"})
        deployment.want(world.wallets())
        code, text = deployment.here("backfill", "--json")
        kinds = {kind for (kind,) in deployment.rows("SELECT DISTINCT type FROM {}activity")}
        (unknown,) = kinds - TYPES
        (warning,) = json.loads(text)["warnings"]
        named = f"unknown type {unknown!r} (first {wallet.lower()})"
        kept = "in the table as they were served"
        assert (code, warning) == (0, f"strange rows of activity, {kept}: {named}")
        capsys.readouterr()
        assert deployment.here("backfill")[0] == 0
        assert "warning" not in capsys.readouterr().err, "nothing new was fetched"
