"""What the people who run this do in Dagster's UI, done in a browser.

Pictures of the pages stay in `.browser/`.
"""

import re
import time
from collections import Counter

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import AssetPartitionStatus
from playwright.sync_api import expect

from polycopy_assets.demo.generate import generate
from polycopy_assets.record import attempts
from polycopy_assets.record.partitions import wallets_partitions
from polycopy_assets_tests.browser.pages import LONG, PICTURES, browser
from polycopy_assets_tests.deployment import Deployed, truth
from polycopy_assets_tests.dev import dagster_dev, wait_for
from polycopy_assets_tests.of_trades import KEYS, record_in

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1500)]


def _ended(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(job_name=job)))


def test_five_hundred_new_wallets_arrive_with_one_click_on_the_sensor(deployed: Deployed):
    world = generate(21, 500, most_trades=60)
    wallets = [wallet.lower() for wallet in world.wallets()]
    with (
        deployed(world) as (deployment, served),
        dagster_dev(deployment) as ui,
        browser(ui.url, PICTURES) as pages,
        deployment.instance() as instance,
    ):
        pages.turn_on("new_wallets")
        pages.shot("automation")
        # Past our command, which would register them as well.
        deployment.warehouse.add_traders(wallets)
        took = wait_for(
            lambda: any(run.is_success for run in _ended(instance, "load")), 300, "a load"
        )
        wait_for(lambda: len(record_in(instance).versions()) == 500, 60, "all wallets")
        time.sleep(40)  # one more tick of every sensor, which has nothing to do
        print(f"500 wallets in the table {took:.0f} s after they were wanted")
        assert deployment.table() == truth(world)
        assert len(_ended(instance, "load")) <= 3
        assert len(_ended(instance, "fetch")) == 1
        assert pages.partitions() == {"Failed": 0, "Materialized": 500, "Missing": 0}
        pages.go("/assets/trades")
        expect(pages.page.get_by_text("trades_and_wallets")).to_be_visible(timeout=LONG)
        pages.picture("trades_and_wallets", "trades")
        pages.go("/locations/polycopy_assets.definitions/asset-groups/trades")
        expect(pages.page.get_by_text("wallet_trades").first).to_be_visible(timeout=LONG)
        pages.shot("asset-graph")
    assert set(served.state.counts.requests.values()) == {1}, "some wallet was asked for twice"


def test_a_page_of_a_run_that_is_open_shows_what_the_run_says_later(deployed: Deployed):
    """Dagster's page is told of new events by the run's database file."""
    world = generate(23, 120, most_trades=4)
    with deployed(world, POLYCOPY_CONCURRENCY="2") as (deployment, served):
        served.state.latency = 0.5
        deployment.want(world.wallets())
        with (
            dagster_dev(deployment) as ui,
            browser(ui.url, PICTURES) as pages,
            deployment.instance() as instance,
        ):
            opened = pages.open_launchpad("fetch")
            expect(opened.get_by_text("chosen")).to_be_visible(timeout=LONG)
            assert not pages.page.get_by_placeholder("Partition").count(), "it asks for a partition"
            pages.shot("launchpad")
            pages.launch_run()
            pages.page.wait_for_url(re.compile("/runs/"), timeout=LONG)
            (run_id,) = [run.run_id for run in _ended(instance, "fetch")]
            started = dg.DagsterRunStatus.STARTED
            wait_for(lambda: _status(instance, run_id) == started, 90, "the start of the run")
            pages.page.get_by_placeholder("Filter…").last.fill("far")
            line = re.compile(r"\d+/120 wallets, .* so far")
            assert not pages.page.get_by_text(line).count(), "the page was opened too late"
            expect(pages.page.get_by_text(line).first).to_be_visible(timeout=25_000)
            assert _status(instance, run_id) == started, "the line was seen when all was over"
            _read_how_far_it_is(pages, run_id)
            last = pages.page.get_by_text(re.compile("120/120 wallets")).first
            expect(last).to_be_visible(timeout=LONG)
    assert len(served.state.counts.requests) == 120


def _read_how_far_it_is(pages, run_id: str) -> None:
    """The event of each wallet says it; the address that the log names shows the lines alone."""
    pages.go(f"/runs/{run_id}")
    event = pages.page.get_by_text(re.compile(r"\d+/120 wallets: \d+ new trades?, \d+ in all"))
    expect(event.last).to_be_visible(timeout=LONG)
    pages.shot("run-with-events")
    pages.go(f"/runs/{run_id}?levels=critical|error|info|warning")
    line = pages.page.get_by_text(re.compile(r"\d+/120 wallets, .* so far"))
    expect(line.last).to_be_visible(timeout=LONG)
    assert not event.count()
    pages.shot("run-lines")


def _status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_twenty_of_a_thousand_fail_are_found_and_asked_for_again_alone(deployed: Deployed):
    world = generate(22, 1000, most_trades=4)
    wallets = [wallet.lower() for wallet in world.wallets()]
    failing = wallets[7::50]
    assert len(failing) == 20
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets(dict.fromkeys(failing, "404"))
        deployment.want(wallets)
        with (
            dagster_dev(deployment) as ui,
            browser(ui.url, PICTURES) as pages,
            deployment.instance() as instance,
        ):
            pages.materialize("All")
            pages.shot("backfill-dialog")
            pages.launch()
            green = _watch(instance, 980)
            assert len(green) > 2, "partitions turn green one by one, not at the end"
            wait_for(lambda: len(attempts.failed(record_in(instance))) == 20, 120, "the failures")
            # Dagster calls a partition failed when its run has ended.
            wait_for(
                lambda: _failed_for_dagster(instance, wallets) == 20, 120, "the end of the run"
            )
            assert pages.partitions() == {"Failed": 20, "Materialized": 980, "Missing": 0}
            pages.shot("partitions")
            _find_the_reason(pages, failing[3])
            _read_the_run(pages, instance)
            _see_the_checks(pages, 20)

            served.state.faults.set_wallets({})
            before = Counter(served.state.counts.requests)
            started = time.monotonic()
            pages.materialize("Failed and missing")
            pages.shot("failed-and-missing")
            pages.launch()
            wait_for(lambda: len(record_in(instance).versions()) == 1000, 600, "the twenty")
            print(f"20 scattered wallets, as a backfill: {time.monotonic() - started:.0f} s")
            asked = Counter(served.state.counts.requests) - before
            assert asked == Counter(dict.fromkeys(failing, 1))
            assert pages.partitions() == {"Failed": 0, "Materialized": 1000, "Missing": 0}
            wait_for(lambda: deployment.feed_table.count_rows() == world_rows(world), 300, "a load")
            # What the overview shows is a materialization that must not fail the backfill.
            wait_for(lambda: _backfill_ended(instance) == "COMPLETED_SUCCESS", 120, "its end")
            pages.go("/assets/wallet_trades?view=overview")
            expect(pages.page.get_by_text("remaining").first).to_be_visible(timeout=LONG)
            pages.shot("overview")
    assert deployment.table() == truth(world)


def _failed_for_dagster(instance: dg.DagsterInstance, wallets: list[str]) -> int:
    found = instance.get_status_by_partition(KEYS.wallets, wallets, wallets_partitions)
    return sum(status == AssetPartitionStatus.FAILED for status in (found or {}).values())


def _backfill_ended(instance: dg.DagsterInstance) -> str:
    return instance.get_backfills()[0].status.value


def world_rows(world) -> int:
    return sum(len(world.truth(wallet)) for wallet in world.wallets())


def _watch(instance: dg.DagsterInstance, wanted: int) -> set[int]:
    """The numbers of materialized partitions that were seen on the way to `wanted`."""
    seen: set[int] = set()

    def enough() -> bool:
        seen.add(len(record_in(instance).versions()))
        return max(seen) >= wanted

    wait_for(enough, 400, f"{wanted} partitions")
    return seen


def _find_the_reason(pages, wallet: str) -> None:
    """From the partition that is red to the reason why it failed, by clicks."""
    page = pages.page
    pages.open_partition(wallet)
    expect(page.get_by_text("failed, and did not materialize")).to_be_visible(timeout=LONG)
    pages.shot("failed-wallet")
    pages.open_history(wallet)
    expect(page.get_by_text("refused with 404").first).to_be_visible(timeout=LONG)
    pages.shot("failed-wallet-reason")


def _read_the_run(pages, instance: dg.DagsterInstance) -> None:
    """The page of the run says how far it came and who failed."""
    (run,) = [r for r in instance.get_runs() if r.tags.get("dagster/backfill")]
    pages.go(f"/runs/{run.run_id}")
    expect(pages.page.get_by_text("20 of 1,000 wallets failed").first).to_be_visible(timeout=LONG)
    pages.shot("run")
    pages.page.get_by_placeholder("Filter…").first.fill("far")
    expect(pages.page.get_by_text(re.compile("1,000/1,000 wallets")).first).to_be_visible(
        timeout=LONG
    )


def _see_the_checks(pages, failed: int) -> None:
    """The check of the wanted wallets names those that failed, and what to do."""
    pages.go("/assets/traders?view=checks")
    pages.page.get_by_text("no_wallet_failed").first.click(timeout=LONG)
    expect(pages.page.get_by_text(f"{failed} wallets failed").first).to_be_visible(timeout=LONG)
    pages.shot("checks")
