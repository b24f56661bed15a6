"""The benches work: each prints its figures, and its invariants hold. No time is judged."""

import math
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from benchmarks.figures import Figure, Report, table
from benchmarks.pages import Wallet, World, render
from benchmarks.processes import ROOT, run
from benchmarks.run import BENCHES, MINUTES, run_all
from benchmarks.server import serving
from benchmarks.two_feeds import Measured
from polycopy_assets_tests.browser.pages import CHROMIUM

UNTIL = 1_800_000_000
REQUESTS = {"tiny_wallets": [21], "nothing_to_do": [0]}
"""One for each wallet and one for the status; and none."""

GROUPS = [
    ["end_to_end"],
    ["fetch_rate"],
    ["load", "record", "combine"],
    ["start_up"],
    ["kill"],
    ["tiny_wallets", "nothing_to_do", "refresh"],
    ["tail"],
    ["memory"],
    ["year"],
]


def run_benches(names: list[str], results: Path) -> tuple[subprocess.CompletedProcess[str], Report]:
    """Runs benches in the size that only shows that they work; what they printed and wrote."""
    command = [sys.executable, "-m", "benchmarks.run", "--size", "smoke"]
    ended = subprocess.run(
        [*command, "--results", str(results), *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    (written,) = results.glob("smoke-*.json")
    return ended, msgspec.json.decode(written.read_bytes(), type=Report)


def test_the_groups_below_are_all_benches():
    assert sorted(name for names in GROUPS for name in names) == sorted(BENCHES)


@pytest.mark.bench
@pytest.mark.parametrize("names", GROUPS, ids="+".join)
def test_a_bench_prints_its_figures_and_their_ratios_and_its_invariants_hold(names, tmp_path):
    ended, report = run_benches(names, tmp_path)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    assert report.machine in ended.stdout
    for name in names:
        own = [figure for figure in report.figures if figure.bench == name]
        measured = [figure for figure in own if figure.samples]
        assert all(figure.note for figure in own if not figure.samples), "why it was not measured"
        assert all(math.isfinite(number) for each in measured for number in each.samples)
        assert all(figure.what in ended.stdout for figure in own)
        compared = [figure.ratio for figure in measured if figure.against]
        assert measured
        assert all(ratio is not None for ratio in compared)
        requests = [figure.value for figure in measured if figure.unit == "requests"]
        assert requests == REQUESTS.get(name, [])
        assert compared or name in {"kill", "end_to_end"}, "a figure stands beside a baseline"


@pytest.mark.bench
def test_the_bench_of_scaling_measures_commands_pages_and_the_sensor_on_postgres(tmp_path):
    assert CHROMIUM, "chromium is not installed: apt-get install chromium"
    written = tmp_path / "figures.json"
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", "--size", "smoke", "--json", str(written)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    report = msgspec.json.decode(written.read_bytes(), type=Report)
    measured = {figure.what.partition(" wallets, ")[2]: figure.value for figure in report.figures}
    assert all(figure.what in ended.stdout for figure in report.figures)
    assert all(math.isfinite(number) and number >= 0 for number in measured.values())
    positive = {what for what, number in measured.items() if number > 0}
    assert positive >= {
        *("wallets add", "first backfill", "backfill, nothing to do", "status", "wallets list"),
        *("reconcile", "a day's refresh without news", "maintain"),
        "tick of the sensor new_wallets",
        *("partition page", "asset page", "partition page: received", "the database at the end"),
        "planning: from the start to the first page",
    }


@pytest.mark.bench
def test_the_bench_of_conditions_keeps_the_budgets_and_asks_again_for_what_is_open_alone():
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.conditions", "80", "500"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    rows = {
        line[:28].strip(): [float(each.replace(",", "")) for each in line[28:].split()]
        for line in ended.stdout.splitlines()
        if "run" in line[:28]
    }
    (asked, requests, *_, refused), (again, fewer, *_, none) = rows.values()
    assert (refused, none) == (0, 0)
    assert 0 < again < asked <= 80
    assert 0 < fewer < requests < asked


@pytest.mark.bench
def test_the_bench_of_two_feeds_compares_with_another_version_and_both_feeds_with_one(tmp_path):
    written = tmp_path / "samples.json"
    command = [sys.executable, "-m", "benchmarks.two_feeds", "--size", "smoke"]
    ended = subprocess.run(
        [*command, "--before", str(ROOT), "--json", str(written)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    (before,), (alone,), (both,) = msgspec.json.decode(
        written.read_bytes(), type=dict[str, list[Measured]]
    ).values()
    assert (alone.requests, alone.rows) == (before.requests, before.rows)
    assert alone.objects["trades"] == before.objects["trades"] > 0, "segments"
    assert both.requests["/v2/trades"] == alone.requests["/v2/trades"] > 0
    assert both.requests["/v2/activity"] > 0 == alone.requests.get("/v2/activity", 0)
    assert both.rows["activity"] > both.rows["trades"] == alone.rows["trades"] > 0
    assert f"trades alone (ours) beside trades alone, {ROOT}, medians of 1:" in ended.stdout
    assert "both feeds (ours) beside trades alone, medians of 1:" in ended.stdout


def test_a_bench_that_fails_is_named_and_does_not_stop_the_others(tmp_path, monkeypatch):
    report = Report(machine="", size="smoke")
    assert not run_all(["no_such_bench", "neither"], "smoke", tmp_path, report)
    assert [each.what for each in report.figures] == ["failed with exit code 1"] * 2
    monkeypatch.setitem(MINUTES, "smoke", 0)
    assert not run_all(["load"], "smoke", tmp_path, report)
    assert "the time is up" in report.figures[-1].note


def test_a_bench_that_fails_prints_the_figures_that_it_has(tmp_path):
    nowhere = tmp_path / "no-such-directory" / "file"
    nowhere.parent.touch()
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", "--size", "smoke", "--json", str(nowhere)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode
    assert "| load  | load 4,000 into 8,000" in ended.stdout


INTERRUPTED = """
from benchmarks.bench import bench, kept
from benchmarks.figures import Figure

def measure(size, work):
    samples = [1.5]
    with kept():
        raise KeyboardInterrupt
    yield Figure(what="measured", samples=samples)
    yield Figure(what="not reached")

bench("some", {"smoke": None}, measure)
"""


def test_a_bench_that_is_interrupted_prints_what_it_has_and_says_so():
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "--size", "smoke"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == "some: interrupted\n"
    assert "1.50" in ended.stdout
    assert "not reached: interrupted, or failed, before it was measured" in ended.stdout


def rows_of(wallet: Wallet, start: int, end: int, limit: int) -> list[dict[str, Any]]:
    """All rows that a walk over the pages gets."""
    found, cursor = [], None
    while True:
        page = wallet.page(start, end, cursor, limit)
        rows = msgspec.json.decode(b"[%b]" % bytes(page.rows))
        assert len(rows) == page.number
        found += rows
        cursor = page.cursor
        if cursor is None:
            return found
        assert page.number == limit


def test_a_walk_over_rendered_pages_gets_exactly_the_rows_between_its_bounds():
    rng = Random(3)
    world = World(kind="many", wallets=5, trades=400, until=UNTIL)
    wallets = render(world)
    assert sum(len(wallet) for wallet in wallets.values()) == world.trades
    for address, wallet in wallets.items():
        every = rows_of(wallet, 1, 2**40, 1000)
        times = [row["timestamp"] for row in every]
        assert len(every) == len(wallet)
        assert times == sorted(times, reverse=True)
        assert {row["proxy_wallet"] for row in every} == {address}
        for _ in range(20):
            start, end = sorted(rng.choice(times) + rng.randint(-1, 1) for _ in range(2))
            wanted = [row for row in every if start <= row["timestamp"] <= end]
            assert rows_of(wallet, start, end, rng.randint(1, 7)) == wanted
            assert wallet.count(start, end) == len(wanted)


def test_the_same_world_is_the_same_to_the_byte_and_another_seed_is_not():
    world = World(kind="tiny", wallets=4, until=UNTIL)
    one, same, other = (
        {a: bytes(w.page(1, 2**40, None, 9).rows) for a, w in render(each).items()}
        for each in (world, world, msgspec.structs.replace(world, seed=2))
    )
    assert one == same
    assert not one.keys() & other.keys()


def test_half_of_the_wallets_have_news_on_each_day():
    days, wallets = 6, 4
    found = render(World(kind="days", wallets=wallets, days=days, until=UNTIL))
    for ago in range(days):
        end = UNTIL - ago * 86_400
        assert sum(w.count(end - 86_400, end - 1) > 0 for w in found.values()) == wallets // 2


def test_the_server_counts_and_hides_what_its_feed_does_not_have_yet():
    with serving(World(kind="tiny", wallets=3, until=UNTIL // 2)) as server:
        wallet = server.wallets[0]
        target = f"/v2/trades?user={wallet}&taker_only=false&start=1"
        assert len(msgspec.json.decode(server.get(target))["data"]) == server.sizes[wallet]
        server.set_lag(2**31)
        assert msgspec.json.decode(server.get(target))["data"] == []
        counts = server.counts()
        assert (counts.pages, counts.rows) == (2, server.sizes[wallet])
        assert counts.rows_by_wallet == {wallet: server.sizes[wallet]}


def test_a_ratio_is_ours_by_the_baseline_and_a_goal_is_for_the_ratio_if_there_is_one():
    slow = Figure(what="a", unit="s", samples=[1, 2, 9], against=[4.0], goal="<= 0.4")
    assert (slow.value, slow.ratio, slow.met) == (2, 0.5, False)
    assert msgspec.structs.replace(slow, goal=">= 0.4").met is True
    assert msgspec.structs.replace(slow, goal="<= 2", goal_of="value").met is True
    assert msgspec.structs.replace(slow, against=[], goal="<= 2").met is True
    printed = table([slow, Figure(what="b", note="there is none")], judged=True)
    assert "1.00 to 9.00 of 3" in printed
    assert "0.50" in printed
    assert "MISSED" in printed
    assert "b: there is none" in printed
    assert "MISSED" not in table([slow], judged=False)


def test_a_process_and_its_children_count_together(tmp_path):
    child = "import time; kept = bytearray(80_000_000); time.sleep(1)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    ended = run([sys.executable, "-c", code], environ={}, cwd=tmp_path)
    assert ended.code == 0
    assert ended.peak > 80
    killed = run([sys.executable, "-c", child], environ={}, cwd=tmp_path, kill_when=lambda: True)
    assert killed.code == -9
