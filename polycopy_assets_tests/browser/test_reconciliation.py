"""The reconciliation as people see it: what it found, and that acting on it settles everything."""

import re

import dagster as dg
import duckdb
import pytest
from playwright.sync_api import expect

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.world import World
from polycopy_assets_tests.browser.pages import LONG, PICTURES, browser
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.dev import dagster_dev, wait_for
from polycopy_assets_tests.of_trades import wallet_prefix
from polycopy_assets_tests.old_job import OldJob, old_file

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

ACT = "ops:\n  reconciliation:\n    config:\n      apply: true"


def test_trouble_is_seen_and_acting_on_it_in_the_ui_settles_it(deployed: Deployed):
    world = generate(23, 120, most_trades=30)
    wallets = [wallet.lower() for wallet in world.wallets() if world.truth(wallet)]
    with deployed(world) as (deployment, served):
        _lay_out(world, deployment, wallets)
        served.state.counts.reset()
        with dagster_dev(deployment) as ui, browser(ui.url, PICTURES) as pages:
            page = pages.page
            pages.go("/assets/reconciliation")
            page.get_by_role("button", name="Materialize").first.click(timeout=LONG)
            wait_for(lambda: _materialized(deployment), 120, "a look")
            # The page shows metadata as they were when it was opened.
            pages.go("/assets/reconciliation")
            row = page.locator("tr").filter(has_text="chart")
            expect(row.get_by_text("[Show Markdown]")).to_be_visible(timeout=LONG)
            for name in ("ghost", "adoptable", "false_complete", "unloaded", "unexported"):
                expect(page.get_by_role("cell", name=name).first).to_be_visible(timeout=LONG)
            pages.picture("chart", "reconciliation")
            pages.go("/assets/reconciliation?view=checks")
            page.get_by_text("ledgers_agree").first.click(timeout=LONG)
            said = page.get_by_text(re.compile(f"5 ghost .first {min(wallets[:5])}"))
            expect(said.first).to_be_visible(timeout=LONG)
            pages.shot("reconciliation-check")
            assert not served.state.counts.requests, "looking asked the source"

            pages.launch_job("reconcile", ACT)
            expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=LONG)
            pages.go("/assets/reconciliation?view=checks")
            page.get_by_text("ledgers_agree").first.click(timeout=LONG)
            expect(page.get_by_text("wallets are in order").first).to_be_visible(timeout=LONG)
    assert set(served.state.counts.requests) == {*wallets[:5], *wallets[15:22]}
    assert deployment.table() == truth(world, wallets)


def _materialized(deployment: Deployment) -> bool:
    with deployment.instance() as instance:
        return instance.get_latest_materialization_event(dg.AssetKey("reconciliation")) is not None


def _lay_out(world: World, deployment: Deployment, wallets: list[str]) -> None:
    """Five wallets lose their data, five their rows; ten were the old job's, seven it only said."""
    old, ghosts, unloaded = OldJob(deployment), wallets[:5], wallets[5:10]
    believed, lies = [*wallets[10:15], *wallets[22:27]], wallets[15:22]
    deployment.want([wallet for wallet in wallets if wallet not in {*believed, *lies}])
    deployment.backfill()
    for wallet in ghosts:
        for item in list(deployment.store.list(wallet_prefix(wallet))):
            deployment.store.delete(item.name)
    with duckdb.connect(deployment.settings.warehouse) as db:
        db.executemany(
            "DELETE FROM trades WHERE wallet_address = ?", [[wallet] for wallet in unloaded]
        )
    for wallet in believed:
        old.put(wallet, old_file(world.truth(wallet)))
    for wallet in [*believed, *lies]:
        old.tick(wallet, len(world.truth(wallet)), at=LAST + 864_000)
    old.write()
