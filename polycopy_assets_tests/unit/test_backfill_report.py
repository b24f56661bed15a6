"""What a backfill says at its end."""

import pytest

from polycopy_assets.cli.backfill import BackfillReport, exit_code, print_report


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
