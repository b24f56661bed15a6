"""A command that works for several feeds: none of them hides, doubles or holds up another."""

import json
import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import dagster as dg
import pytest
from click.testing import CliRunner

from polycopy_assets.cli import backfill as of_backfill
from polycopy_assets.cli import beside as of_beside
from polycopy_assets.cli import reconcile_command as of_reconcile
from polycopy_assets.cli import work as of_work
from polycopy_assets.cli.backfill_report import report_of
from polycopy_assets.cli.work import Work
from polycopy_assets.errors import ConfigurationError, StoreError, WarehouseBusy
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.pipeline.ports import FetchReport
from polycopy_assets.reconcile.report import ReconcileReport
from polycopy_assets.record.partitions import register
from polycopy_assets.settings import Settings, read_settings

WALLETS = [f"0x{number:040x}" for number in (1, 2)]
FEEDS = (TRADES, ACTIVITY)
NOTHING_FOUND = ReconcileReport(
    counts={},
    findings=[],
    refused=[],
    covered=[],
    applied=False,
    findings_left=[],
    broken=[],
    failures=[],
    failed_checks=[],
    seconds=1.0,
)


def works(tmp_path: Path, instance: dg.DagsterInstance, deadline: Deadline) -> list[Work]:
    """The work for both feeds, of which nothing is done."""
    where = {
        "POLYCOPY_STORE": str(tmp_path / "store"),
        "POLYCOPY_WAREHOUSE": str(tmp_path / "warehouse.duckdb"),
    }
    register(instance, WALLETS)
    return [Work(instance, read_settings(where), feed, Progress(), deadline, 0) for feed in FEEDS]


def test_a_wallet_that_fails_for_both_feeds_has_failed_once_and_each_reason_names_its_feed(
    tmp_path: Path,
):
    with dg.DagsterInstance.ephemeral() as instance:
        both = works(tmp_path, instance, Deadline())
        for work in both:
            failed = Failed(wallet=WALLETS[0], reason="the source answers 404")
            work.fetched = [FetchReport(wallets=2, failures=[failed])]
        report = report_of(both, 1.0, print)
    assert (report.wallets, report.failed) == (2, 1)
    assert [each.failed for each in report.feeds or ()] == [1, 1]
    assert [(each.wallet, each.reason) for each in report.failures] == [
        (WALLETS[0], "the source answers 404"),
        (WALLETS[0], "activity feed: the source answers 404"),
    ]


def test_wallets_of_a_feed_that_was_not_begun_are_left_when_the_process_is_told_to_stop(
    tmp_path: Path,
):
    with dg.DagsterInstance.ephemeral() as instance:
        deadline = Deadline()
        deadline.tell()
        _, second = works(tmp_path, instance, deadline)
        second.do("all")
        assert (second.left, second.to_be_continued) == (len(WALLETS), True)


def test_a_check_that_only_warns_is_named_and_fails_no_backfill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def found(severity: dg.AssetCheckSeverity) -> Any:
        return SimpleNamespace(
            check_name=severity.value,
            asset_key=dg.AssetKey("activity"),
            description="seen",
            severity=severity,
            passed=False,
            metadata={},
        )

    every = [found(severity) for severity in dg.AssetCheckSeverity]
    loaded = SimpleNamespace(run_id="1", get_asset_check_evaluations=lambda: every)
    for name, value in {
        "run_job": lambda *_, **__: loaded,
        "lacking": lambda *_: SimpleNamespace(why=lambda: "a batch"),
        "lacking_still": lambda *_: SimpleNamespace(why=lambda **_: ""),
        "failed_by": lambda *_: False,
        "raise_failure": lambda *_: None,
    }.items():
        monkeypatch.setattr(of_work, name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        both = works(tmp_path, instance, Deadline())
        both[1]._load()
        report = report_of(both, 1.0, print)
        assert report.failed_checks == ["ERROR of activity: seen"]
        assert report.warnings == ["WARN of activity: seen"]


class Stub:
    """The work for a feed, which only notes that it was asked for."""

    done: ClassVar[list[tuple[str, str]]] = []
    shares: ClassVar[list[int]] = []

    def __init__(self, _: object, settings: Settings, feed: Feed, *__: object) -> None:
        self.feed, self.out_of_time = feed, False
        self.errors = ["the fetch ended early"] if "down" in settings.source_url else []
        self.errors *= feed is ACTIVITY

    def do(self, select: str, share: int = 1) -> None:
        self.done.append((self.feed.name, select))
        self.shares.append(share)

    def covered_in_all(self) -> int:
        return {"trades": 1, "activity": 2}[self.feed.name]

    def noting(self, _: str) -> Any:
        return nullcontext()


@pytest.fixture
def backfilled(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a backfill of stubs, and returns what they were asked for."""
    monkeypatch.setattr(Stub, "done", [])
    monkeypatch.setattr(Stub, "shares", [])
    for name, value in {
        "Work": Stub,
        "end_dead_runs": lambda instance: {},
        "register_new": lambda *args: True,
        "report_of": lambda *args: Stub.done,
    }.items():
        monkeypatch.setattr(of_backfill, name, value)

    def run(busy: WarehouseBusy | None = None, url: str = "http://up", **options: Any) -> Any:
        monkeypatch.setattr(of_backfill, "_begin", lambda *args: busy)
        return of_backfill.backfill(
            None,  # type: ignore[arg-type]
            Settings(feeds=("trades", "activity"), source_url=url),
            progress=Progress(),
            say=print,
            **options,
        )

    return run


def test_what_was_busy_is_tried_again_for_every_feed_that_has_no_error(backfilled: Any):
    busy = WarehouseBusy("somebody loads")
    first = [("trades", "remaining"), ("activity", "remaining")]
    assert backfilled(busy, refresh=False) == [*first, *first]
    Stub.done.clear()
    assert backfilled(busy, "http://down", refresh=False) == [*first, first[0]]


def test_a_refresh_with_little_time_gives_each_feed_a_share_and_ends_with_what_is_furthest_behind(
    backfilled: Any,
):
    in_order = [("trades", "all"), ("activity", "all")]
    assert backfilled(refresh=True) == in_order
    Stub.done.clear()
    Stub.shares.clear()
    assert backfilled(refresh=True, deadline=Deadline(9)) == in_order[::-1]
    assert Stub.shares == [2, 1]
    Stub.done.clear()
    assert backfilled(refresh=False, deadline=Deadline(9))[0] == ("trades", "remaining")


def test_a_share_of_the_time_that_a_feed_does_not_need_is_left_to_the_next():
    now = [100.0]
    deadline = Deadline(60, clock=lambda: now[0])
    with deadline.earlier(3):
        now[0] = 119
        assert not deadline.reached
        now[0] = 120
        assert deadline.reached
    assert not deadline.reached
    with deadline.earlier(2):
        now[0] = 139
        assert not deadline.reached
    with deadline.earlier(1):
        now[0] = 159
        assert not deadline.reached
        now[0] = 160
        assert deadline.reached
    with (unlimited := Deadline(clock=lambda: now[0])).earlier(2):
        assert not unlimited.reached
        deadline.tell()
        assert deadline.told


def test_a_wallet_that_a_second_fetch_makes_complete_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    complete: dict[str, str] = {}
    failed = [Failed(wallet=wallet, reason="transient: 503") for wallet in WALLETS]

    def fetched(work: Work, _: str) -> None:
        work.fetched.append(FetchReport(wallets=2, failures=failed if not work.fetched else []))
        if len(work.fetched) > 1:
            complete[WALLETS[1]] = "version"

    monkeypatch.setattr(Work, "complete", property(lambda _: dict(complete)))
    monkeypatch.setattr(Work, "_fetch", fetched)
    monkeypatch.setattr(Work, "_load", lambda _: None)
    with dg.DagsterInstance.ephemeral() as instance:
        work, _ = works(tmp_path, instance, Deadline())
        work.do("remaining")
        assert [each.wallet for each in work.failures] == WALLETS
        work.do("remaining")
        assert [each.wallet for each in work.failures] == WALLETS[:1]


def test_what_one_feed_has_recorded_does_not_delay_loads_beside_the_fetch_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
):
    """The twentieth of a load is one of the rows of its own fetch."""
    table = SimpleNamespace(worth_loading=50)
    opened = SimpleNamespace(open=lambda *_, **__: SimpleNamespace(table=lambda _: table))
    monkeypatch.setattr(of_beside, "warehouse_resource", lambda _: opened)
    lock = SimpleNamespace(release=lambda: None)
    locks = SimpleNamespace(try_acquire=lambda *_: lock)
    monkeypatch.setattr(of_beside, "instance_locks", lambda _: locks)
    monkeypatch.setattr(of_beside, "POLL_SECONDS", 0.001)
    loaded = threading.Event()
    monkeypatch.setattr(of_beside.Beside, "_load", lambda *_: loaded.set())
    progress = Progress(recorded_rows=1_000_000)
    beside = of_beside.Beside(None, Settings(), progress, feed=ACTIVITY)  # type: ignore[arg-type]
    watched: list[int] = []

    def polled(_: float) -> bool:
        watched.append(progress.recorded_rows)
        progress.recorded_rows = 1_000_060
        return loaded.is_set() or len(watched) > 100

    monkeypatch.setattr(beside, "_ended", SimpleNamespace(wait=polled))
    beside._load_often()
    assert loaded.is_set()


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        ({ACTIVITY: StoreError("no answer")}, 1, "polycopy: activity feed: no answer"),
        ({TRADES: StoreError("no answer")}, 1, "polycopy: trade feed: no answer"),
        ({ACTIVITY: ConfigurationError("no dataset")}, 2, "polycopy: activity feed: no dataset"),
    ],
)
def test_a_reconciliation_that_fails_for_one_feed_shows_what_it_found_of_the_other(
    monkeypatch: pytest.MonkeyPatch, raised: dict[Feed, Exception], code: int, said: str
):
    def reconciled(*_: object, feed: Feed, **__: object) -> ReconcileReport:
        if feed in raised:
            raise raised[feed]
        return NOTHING_FOUND

    both = SimpleNamespace(feeds=("trades", "activity"))
    monkeypatch.setattr(of_reconcile, "settings", lambda: both)
    monkeypatch.setattr(of_reconcile, "run_reconcile", reconciled)
    ended = CliRunner().invoke(of_reconcile.reconcile_command, ["--json"])
    found = json.loads(ended.stdout)
    assert (ended.exit_code, said in ended.stderr) == (code, True)
    assert ("counts" in found, "activity" in found.get("feeds", {})) == (
        TRADES not in raised,
        ACTIVITY not in raised,
    )
    assert found["errors"] == [said.removeprefix("polycopy: ")]
    shown = CliRunner().invoke(of_reconcile.reconcile_command, [])
    assert ("trades:" in shown.stdout) == (TRADES not in raised)
