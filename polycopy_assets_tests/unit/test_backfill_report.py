"""What a backfill says at its end."""

from types import SimpleNamespace
from typing import Any

import pytest

from polycopy_assets.cli.backfill import BackfillReport, exit_code, print_report
from polycopy_assets.cli.backfill_report import report_of
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.ledger.failure import Failure
from polycopy_assets.pipeline.ports import FetchReport


@pytest.mark.parametrize(
    ("left", "said"),
    [(0, "the load is left"), (1, "1 wallet left"), (1_200, "1,200 wallets left")],
)
def test_a_backfill_that_is_out_of_time_says_what_is_left(
    left: int, said: str, capsys: pytest.CaptureFixture[str]
):
    report = BackfillReport(
        wallets=2_000,
        complete=2_000 - left,
        failed=0,
        remaining=left,
        complete_without_trades=0,
        requests=1,
        trades_fetched=1,
        table_rows=0,
        seconds=1.0,
        failures=[],
        failed_checks=[],
        errors=[],
        left=left,
        to_be_continued=True,
    )
    print_report(report)
    assert f"out of time, {said}: start it again, it continues" in capsys.readouterr().err
    assert exit_code(report) == 75


def worked(feed: Feed, failed: tuple[str, ...], left: int) -> Any:
    """What a backfill has done for a feed: of three wallets all but the failed ones."""
    failures = [Failure(wallet, f"permanent: no {feed.rows}") for wallet in failed]
    return SimpleNamespace(
        feed=feed,
        wallets=["0xa", "0xb", "0xc"],
        complete={wallet: "" for wallet in ("0xa", "0xb", "0xc") if wallet not in failed},
        fetched=[FetchReport(wallets=3)],
        failures=failures,
        failed_checks=[],
        warnings=[],
        errors=[],
        left=left,
        told=False,
        to_be_continued=left > 0,
        table_rows=lambda: 0,
    )


def test_a_wallet_that_failed_in_two_feeds_is_one_wallet(capsys: pytest.CaptureFixture[str]):
    trades, activity = FEEDS["trades"], FEEDS["activity"]
    works = [worked(trades, ("0xb",), 2), worked(activity, ("0xa", "0xb"), 3)]
    report = report_of(works, 1.0, print)
    assert (report.failed, report.complete, report.remaining) == (2, 1, 2)
    assert [each.failed for each in report.feeds or ()] == [1, 2]
    assert [each.reason for each in report.failures if each.wallet == "0xb"] == [
        "permanent: no trades",
        "permanent: no rows of activity",
    ]
    print_report(report)
    assert "2 wallets of trades, 3 wallets of activity left: start" in capsys.readouterr().err
