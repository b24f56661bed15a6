"""The views on the ledger, from the sample API to the last digit, and the check of holdings."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from polycopy_assets.checks.holdings import NAME, holdings_of
from polycopy_assets.cli.runs import run_job, why_failed
from polycopy_assets.demo.entry import MICRO, Entry
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.ledger.generate import Exchange
from polycopy_assets.demo.world import World
from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import Job
from polycopy_assets.resources.chosen import open_warehouse
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.warehouse.joined import joined
from polycopy_assets_tests.cloud.google import GoogleDeployment
from polycopy_assets_tests.deployment import Deployment, sample_api

FEEDS = {"POLYCOPY_FEEDS": "trades,activity"}
Held = dict[str, dict[str, Decimal]]


def amount(micros: int) -> Decimal:
    return Decimal(micros).scaleb(-6)


def truth(world: World) -> Held:
    """What the generator says that each wallet holds, by token."""
    found: Held = {}
    for wallet in world.wallets():
        standing = world.standing(wallet)
        assert standing
        if standing.shares:
            found[wallet.lower()] = {t: amount(held) for t, held in standing.shares.items()}
    return found


def exposed(deployment: Deployment) -> Held:
    found: Held = {}
    for wallet, token, shares in deployment.rows(
        "SELECT wallet_address, token_id, shares FROM {}open_exposure WHERE is_exact"
    ):
        assert token not in found.setdefault(wallet, {})
        found[wallet][token] = shares
    return found


def check(deployment: Deployment) -> tuple[bool, str, dict[str, Any]]:
    with deployment.instance() as instance:
        warehouse = open_warehouse(deployment.settings, "activity")
        result = holdings_of(instance, FeedStore(deployment.store.whole, ACTIVITY), warehouse)
    assert result.severity == dg.AssetCheckSeverity.WARN
    metadata = {name: value.value for name, value in result.metadata.items()}
    return result.passed, str(result.description), metadata


def warned(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What `polycopy markets` warns of."""
    capsys.readouterr()
    assert deployment.here("markets")[0] == 0
    return [each for each in capsys.readouterr().err.splitlines() if each.startswith("warning")]


def refused(deployment: Deployment, sql: str) -> str:
    with (
        pytest.raises(WarehouseError) as caught,
        open_warehouse(deployment.settings, "query").reader.ask(sql),
    ):
        pass
    return str(caught.value)


def run(deployment: Deployment, job: Job, **config: object) -> list[dg.AssetCheckEvaluation]:
    """Runs the job; the result of the check of holdings, if the job has it."""
    with deployment.instance() as instance:
        result = run_job(instance, deployment.settings, job, config, Progress(), feed=ACTIVITY)
        assert result.success, why_failed(result)
        checks = result.get_asset_check_evaluations()
    return [each for each in checks if each.check_name == NAME]


def withheld(world: World) -> tuple[Entry, Entry]:
    """A purchase of a wallet and a split of another one, of shares that both have no more.

    Of markets without siblings, so that no conversion could explain it, and not voided ones.
    """
    alone = {
        condition: market
        for condition, market in world.markets.items()
        if not market.neg_risk_id and market.payouts in {(MICRO, 0), (0, MICRO)}
    }

    def gone(wallet: str, entry: Entry) -> bool:
        standing = world.standing(wallet)
        assert standing
        market = alone.get(entry.condition_id)
        return market is not None and not standing.shares.keys() & set(market.tokens)

    found: dict[str, Entry] = {}
    for wallet in world.wallets():
        for entry in world.entries(wallet):
            kind = entry.side or entry.type
            other = entry.wallet not in {each.wallet for each in found.values()}
            if other and kind in {"BUY", "SPLIT"} - found.keys() and gone(wallet, entry):
                found[kind] = entry
    return found["BUY"], found["SPLIT"]


@pytest.mark.files
@pytest.mark.parametrize("kind", ["duckdb", "double"])
def test_what_wallets_hold_is_exact_and_what_is_withheld_is_named(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
):
    world = generate(29, 5, whales=1, whale_trades=500, most_trades=80, ledgers=True)
    bought, split = withheld(world)
    whole = {entry.wallet: list(world.entries(entry.wallet)) for entry in (bought, split)}
    for lost in (bought, split):
        world.add_ledger(lost.wallet, [e for e in whole[lost.wallet] if e is not lost])
    with sample_api(world) as served:
        if kind == "duckdb":
            deployment = Deployment(tmp_path, served.url, **FEEDS)
        else:
            gcs, double = (request.getfixturevalue(name) for name in ("gcs", "double"))
            deployment = GoogleDeployment(tmp_path, served.url, gcs, double.url, **FEEDS)
        deployment.want(world.wallets())
        report = deployment.backfill()
        assert (report.errors, report.remaining) == ([], 0)
        # The purchase is in `trades`, the split nowhere.
        (witness,) = report.failed_checks
        assert f"the table activity lacks 1 trade, the first is of {bought.wallet}" in witness

        # Without tokens and markets there are no views, and nothing is judged.
        where = deployment.settings.warehouse
        asked = "SELECT * FROM {}"
        assert refused(deployment, asked.format("open_exposure")) == (
            f"there is no view open_exposure in {where} yet: it needs table tokens, which"
            " `polycopy markets` makes"
        )
        assert refused(deployment, asked.format("markets")) == (
            f"there is no table markets in {where} yet, which `polycopy markets` makes"
        )
        assert "of_somebody_else" in refused(deployment, asked.format("of_somebody_else"))
        passed, said, _ = check(deployment)
        made_by = "`polycopy markets`, or the job `update_markets`, makes it"
        assert (passed, said) == (True, f"there is no table markets yet: {made_by}")

        (judged,) = run(deployment, Job.MARKETS)
        made = open_warehouse(deployment.settings, "query").reader
        for name, view in joined().items():
            with made.ask(asked.format(name)) as answer:
                assert list(answer.names) == list(view.relation.columns), name
        passed, said, metadata = check(deployment)
        assert (passed, judged.description) == (False, said), "the run that makes them says it too"
        # Of a split that is missing, both tokens are.
        both = world.markets[split.condition_id].tokens
        expected = {(bought.wallet, bought.token_id, amount(-bought.size))} | {
            (split.wallet, token, amount(-split.size)) for token in both
        }
        first = metadata["first"]
        assert {(x["wallet"], x["token_id"], Decimal(x["shares"])) for x in first} == expected
        assert all(re.fullmatch(r"20\d\d-\d\d-\d\d", each["day"]) for each in first)
        assert metadata["below_zero"] == 3
        assert metadata["judged"] == "everything"
        assert said.startswith(f"3 holdings are below zero, first {first[0]['wallet']}: -")
        assert "could not be judged" in said
        assert warned(deployment, capsys) == [f"warning: {NAME} of activity: {said}"]
        assert ("bytes_billed" in judged.metadata) == (kind == "double")

        # The source serves all of it again, and the named wallets are fetched in full.
        for wallet, entries in whole.items():
            world.add_ledger(wallet, entries)
        run(deployment, Job.FETCH, wallets=sorted(whole), mode="full")
        run(deployment, Job.LOAD)
        passed, said, metadata = check(deployment)
        assert passed, said
        assert said.startswith("no holding is below zero; ")
        assert metadata["below_zero"] == 0
        assert metadata["not_judged_converted"] > 0
        assert exposed(deployment) == truth(world)
        views_agree(deployment, world)


def views_agree(deployment: Deployment, world: World) -> None:
    """The other views lose no row and double none; what is known of a row is filled in."""
    exchange = Exchange(list(world.markets.values()))
    priced = deployment.rows(
        "SELECT token_id, shares, is_resolved, price, value_usdc, is_combo FROM {}open_exposure"
    )
    for token, shares, resolved, price, value, is_combo in priced:
        if price is None:
            assert (value, resolved) == (None, False), "nobody traded it"
            continue
        assert value == pytest.approx(shares * price, abs=Decimal("0.000001"))
        if not is_combo:
            payouts = exchange.by_token[token].payouts
            assert resolved == (payouts is not None)
            place = exchange.by_token[token].tokens.index(token)
            assert payouts is None or price == amount(payouts[place])
    for table in ("trades", "activity"):
        plain, named = (
            deployment.rows(f"SELECT wallet_address, id FROM {{}}{name} ORDER BY 1, 2")
            for name in (table, f"{table}_named")
        )
        assert plain == named
        (missing,) = deployment.rows(
            f"SELECT COUNT(*) FROM {{}}{table}_named WHERE token_id IS NOT NULL"
            " AND (outcome IS NULL OR outcome_index IS NULL OR event_slug IS NULL)"
            f"{' AND NOT is_combo' if table == 'activity' else ''}"
        )
        assert missing == (0,)
    every = [e for wallet in world.wallets() for e in world.entries(wallet) if e.type == "REDEEM"]
    told: dict[tuple[str, str, int], set[str]] = {}
    for entry in every:
        key = entry.wallet, entry.tx_hash, entry.size
        told.setdefault(key, set()).add(entry.token_id)
    rows = deployment.rows(
        "SELECT wallet_address, tx_hash, shares, token_id, is_paid, usdc FROM {}redemptions"
    )
    assert len(rows) == len(every)
    for wallet, tx_hash, shares, token, is_paid, usdc in rows:
        assert is_paid == (usdc > 0)
        truly = told[wallet, tx_hash, int(shares * MICRO)]
        if token is None:
            (voided,) = {exchange.by_token[each].payouts for each in truly}
            assert voided == (MICRO // 2, MICRO // 2)
        else:
            assert token in truly
