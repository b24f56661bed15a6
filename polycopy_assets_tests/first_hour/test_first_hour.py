"""The first hour of a new user, from the wheel to a restore: what they type, click and see.

The pictures stay in `.first-hour/`, numbered by step.
"""

import csv
import json
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from playwright.sync_api import expect

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.browser.pages import LONG, Pages
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import sample_api, truth
from polycopy_assets_tests.dev import free_port, processes, wait_for
from polycopy_assets_tests.first_hour.hour import PICTURES, Hour, step
from polycopy_assets_tests.first_hour.installed import build_wheel, new_environment, pip
from polycopy_assets_tests.of_trades import record_in

pytestmark = [pytest.mark.first_hour, pytest.mark.timeout(900)]

WORLD = generate(1900, 90, whales=2, whale_trades=8_000, most_trades=200)
INTERRUPTED = "polycopy: interrupted: start it again, it continues where it stopped"


def test_the_first_hour_of_a_new_user(tmp_path: Path):
    shutil.rmtree(PICTURES, ignore_errors=True)
    started = time.monotonic()
    with sample_api(WORLD) as served:
        hour = Hour(tmp_path, served)
        install_the_wheel(hour, tmp_path)
        look_around_where_nothing_is_yet(hour)
        fifty = discover_fifty_wallets(hour)
        press_ctrl_c_in_the_middle_of_a_backfill(hour)
        go_on_exactly_where_it_was(hour, fifty)
        ask_the_table(hour, fifty)
        export_it(hour, fifty)
        more = discover_five_more(hour)
        broken, *chosen = more[1:4]
        served.state.faults.set_wallets({broken: "404"})
        url = f"http://127.0.0.1:{(port := free_port())}"
        with hour.typed(f"polycopy dev --port {port}", "dev") as dev:
            dev.until(lambda: f"Dagster's UI is ready: {url}" in dev.shown, 300)
            with hour.browsing(url) as pages:
                see_the_assets(hour, pages)
                backfill_three_partitions_in_the_ui(hour, pages, [broken, *chosen])
                find_out_why_one_failed(hour, pages, broken)
                see_their_trades_arrive_in_the_table(hour, pages, [*fifty, *chosen])
            dev.press_ctrl_c()
            wait_for(lambda: not dev.runs and not processes(dev.pid), 120, "the end of the UI")
        remove_the_one_that_failed(hour, broken)
        wanted = [wallet for wallet in [*fifty, *more] if wallet != broken]
        fetch_what_is_left(hour, wanted)
        lose_all_but_the_store(hour)
        restore_from_the_store_alone(hour, wanted, broken)
    print(f"The first hour took {time.monotonic() - started:.0f} s; pictures: {PICTURES}")


@step
def install_the_wheel(hour: Hour, folder: Path) -> None:
    python = new_environment(hour.environment, "charts")
    wheel = build_wheel(folder)
    said = pip("install", f"{wheel}[charts]", python=python)
    assert "Successfully installed polycopy-assets" in said, said
    where = "import polycopy_assets; print(polycopy_assets.__file__)"
    found = subprocess.check_output(
        [python, "-c", where], cwd=hour.home, env=hour.environ, text=True
    )
    assert Path(found).is_relative_to(hour.environment), found
    assert "polycopy, version " in hour.run("polycopy --version", "version")


@step
def look_around_where_nothing_is_yet(hour: Hour) -> None:
    assert "wallets" in hour.run("polycopy --help", "help")
    assert "polycopy wallets add" in hour.run("polycopy status", "nothing-here", code=2)
    assert not list(hour.home.iterdir()), "a command that only reads has made something"


@step
def discover_fifty_wallets(hour: Hour) -> list[str]:
    shown = hour.run("polycopy wallets discover --window all --by volume --top 10", "discovered")
    assert "10 wallets, 10 of them not in `traders` yet" in shown
    line = "polycopy wallets discover --window all --by volume --top 50"
    shown = hour.run(line, "discover")
    assert "50 wallets, 50 of them not in `traders` yet" in shown
    assert "Nothing was changed" in shown
    assert "50 wallets added. Next: `polycopy backfill`" in hour.run(f"{line} --add", "add")
    found = sorted(set(re.findall(r"0x[0-9a-f]{40}", shown)))
    assert len(found) == 50
    assert set(found) == collected(hour)
    assert not hour.served.state.counts.trade_requests
    return found


@step
def press_ctrl_c_in_the_middle_of_a_backfill(hour: Hour) -> None:
    state, line = hour.served.state, "polycopy backfill"
    state.latency = 3.0
    with hour.typed(line, "interrupted") as terminal:
        terminal.until(lambda: state.counts.trade_requests >= 30)
        terminal.until(lambda: re.search(r"[1-9]\d*/50 wallets", terminal.screen[0]))
        hour.draw(line, terminal, "progress")
        terminal.press_ctrl_c()
        assert terminal.end() == 130, terminal.lines
        assert terminal.lines[-1] == INTERRUPTED
    state.latency = 0.0
    status = told(hour)
    assert 0 < status["complete"] < 50, status
    assert status["failed"] == 0
    hour.run("polycopy status", "standing")


@step
def go_on_exactly_where_it_was(hour: Hour, wallets: list[str]) -> None:
    counts, durable = hour.served.state.counts, stored_spans(hour.kept)
    before = len(counts.log)
    with hour.kept.instance() as instance:
        complete = set(record_in(instance).versions())
    shown = hour.run("polycopy backfill", "second-backfill")
    assert "50 of 50 wallets complete, 0 failed" in shown
    asked = counts.log[before:]
    assert asked_again(asked, durable) == []
    assert {item.wallet for item in asked} == set(wallets) - complete
    assert hour.kept.table() == truth(WORLD, served_as(wallets))
    requests = counts.trade_requests
    assert "Nothing to fetch" in hour.run("polycopy backfill", "third-backfill")
    assert counts.trade_requests == requests


@step
def ask_the_table(hour: Hour, wallets: list[str]) -> None:
    rows = truth(WORLD, served_as(wallets)).total()
    assert f"table rows  {rows:>14,}" in hour.run("polycopy status", "status")
    assert "complete" in hour.run("polycopy wallets list --limit 10", "list")
    sql = "SELECT wallet_address, trades FROM wallet_summary ORDER BY trades DESC LIMIT 5"
    shown = hour.run(f'polycopy query "{sql}"', "query")
    largest = sorted(len(WORLD.truth(wallet)) for wallet in served_as(wallets))[:-6:-1]
    assert re.findall("^0x[0-9a-f]{40} +(.*)$", shown, re.MULTILINE) == [f"{n:,}" for n in largest]
    answer = hour.answer('polycopy query --json "SELECT count(*) AS n FROM trades"')
    assert json.loads(answer) == [{"n": rows}]


@step
def export_it(hour: Hour, wallets: list[str]) -> None:
    rows = truth(WORLD, served_as(wallets)).total()
    assert f"{rows:,} trades in trades.parquet" in hour.run(
        "polycopy export --to trades.parquet", "parquet"
    )
    one = wallets[0]
    hour.run(f"polycopy export --wallet {one} --to one.csv", "csv")
    with (hour.home / "one.csv").open() as file:
        exported = Counter(row["tx_hash"] for row in csv.DictReader(file))
    assert exported == Counter(trade[2] for trade in truth(WORLD, served_as([one])).elements())


@step
def discover_five_more(hour: Hour) -> list[str]:
    """The five that are new, in the order in which Dagster has their partitions."""
    before = collected(hour)
    shown = hour.run("polycopy wallets discover --window all --by volume --top 55 --add", "add")
    assert "5 wallets added" in shown
    with hour.kept.instance() as instance:
        return [w for w in instance.get_dynamic_partitions("wallets") if w not in before]


@step
def see_the_assets(hour: Hour, pages: Pages) -> None:
    pages.go("/locations/polycopy_assets.definitions/asset-groups/trades")
    expect(pages.page.get_by_text("wallet_trades").first).to_be_visible(timeout=LONG)
    hour.shot(pages, "assets")
    pages.overview()
    hour.shot(pages, "wallet-trades")


@step
def backfill_three_partitions_in_the_ui(hour: Hour, pages: Pages, wallets: list[str]) -> None:
    requests = Counter(hour.served.state.counts.requests)
    assert pages.partitions() == {"Failed": 0, "Materialized": 50, "Missing": 5}
    pages.choose(wallets)
    hour.shot(pages, "chosen")
    pages.launch()
    with hour.kept.instance() as instance:
        wait_for(lambda: any(run.is_finished for run in backfills(instance)), 300, "the backfill")
        assert len(backfills(instance)) == 1, "three neighbours are one run"
    assert Counter(hour.served.state.counts.requests) - requests == Counter(wallets)
    assert pages.partitions() == {"Failed": 1, "Materialized": 52, "Missing": 2}
    hour.shot(pages, "partitions")


@step
def find_out_why_one_failed(hour: Hour, pages: Pages, wallet: str) -> None:
    shown = hour.run("polycopy status --failed", "failed")
    assert wallet in shown
    assert "refused with 404" in shown
    pages.open_partition(wallet)
    expect(pages.page.get_by_text("failed, and did not materialize")).to_be_visible(timeout=LONG)
    pages.open_history(wallet)
    expect(pages.page.get_by_text("refused with 404").first).to_be_visible(timeout=LONG)
    hour.shot(pages, "reason")


@step
def see_their_trades_arrive_in_the_table(hour: Hour, pages: Pages, wallets: list[str]) -> None:
    rows = truth(WORLD, served_as(wallets))
    wait_for(lambda: hour.kept.feed_table.count_rows() == rows.total(), 300, "the load")
    pages.go("/assets/trades")
    expect(pages.page.get_by_text("trades_and_wallets")).to_be_visible(timeout=LONG)
    hour.shot(pages, "trades")
    assert hour.kept.table() == rows


@step
def remove_the_one_that_failed(hour: Hour, wallet: str) -> None:
    assert "1 removed" in hour.run(f"polycopy wallets remove {wallet}", "remove")
    shown = hour.run("polycopy status", "status")
    assert re.search(r"removed +1$", shown, re.MULTILINE), shown
    assert re.search(r"failed +0$", shown, re.MULTILINE), shown
    assert wallet not in collected(hour)


@step
def fetch_what_is_left(hour: Hour, wallets: list[str]) -> None:
    counts = hour.served.state.counts
    before = Counter(counts.requests)
    assert "54 of 54 wallets complete, 0 failed" in hour.run("polycopy backfill", "backfill")
    assert len(Counter(counts.requests) - before) == 2
    assert hour.kept.table() == truth(WORLD, served_as(wallets))


@step
def lose_all_but_the_store(hour: Hour) -> None:
    shutil.rmtree(hour.kept.settings.home)
    Path(hour.kept.settings.warehouse).unlink()
    assert [path.name for path in (hour.home / ".polycopy").iterdir()] == ["store"]
    hour.served.state.counts.reset()
    shown = hour.run("polycopy status", "status")
    assert "Run `polycopy reconcile --apply`" in shown


@step
def restore_from_the_store_alone(hour: Hour, wallets: list[str], removed: str) -> None:
    hour.run("polycopy reconcile --apply", "reconcile")
    assert "Nothing to fetch: all 54 wallets are complete" in hour.run("polycopy backfill", "all")
    counts = hour.served.state.counts
    assert not counts.trade_requests, counts.requests
    assert hour.kept.table() == truth(WORLD, served_as(wallets))
    assert collected(hour) == set(wallets)
    status = told(hour)
    assert (status["removed"], status["failed"], status["remaining"]) == (1, 0, 0)
    hour.run("polycopy status", "status")
    assert removed not in collected(hour)


def backfills(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """The runs of backfills from the UI."""
    return [run for run in instance.get_runs() if run.tags.get("dagster/backfill")]


def collected(hour: Hour) -> set[str]:
    """The wallets that are collected, as the command lists them; it lists removed ones as well."""
    listed = json.loads(hour.answer("polycopy wallets list --json"))
    return {item["wallet"] for item in listed["wallets"] if item["state"] != "removed"}


def told(hour: Hour) -> dict[str, Any]:
    """What `polycopy status` counts."""
    return json.loads(hour.answer("polycopy status --json"))


def served_as(wallets: list[str]) -> list[str]:
    """The wallets as the world writes them."""
    return [wallet for wallet in WORLD.wallets() if wallet.lower() in wallets]
