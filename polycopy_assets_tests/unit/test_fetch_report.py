"""The event that keeps the report of a fetch."""

import dagster as dg
import msgspec

from polycopy_assets.errors import TransientError
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.blame import failed
from polycopy_assets.pipeline.ports import FetchReport
from polycopy_assets.record.fetch_reports import observation


def _kept(report: FetchReport, most: int | None) -> list[dict[str, object]]:
    value = observation(TRADES, report, most).metadata["fetch_report"]
    assert isinstance(value, dg.JsonMetadataValue)
    assert isinstance(value.data, dict)
    return value.data["failures"]


def test_an_outage_of_many_wallets_does_not_make_a_large_event():
    failures = [
        failed(f"0x{number:040x}", TransientError(f"answer {number % 50}"))
        for number in range(100_000)
    ]
    report = FetchReport(wallets=100_000, failures=failures)
    kept = _kept(report, 20)
    assert len(kept) == 20
    assert all(len(each["wallets"]) == 20 for each in kept)  # type: ignore[arg-type]
    assert "100,000 failed" in str(observation(TRADES, report, 20).description)
    assert len(msgspec.json.encode(kept)) < 30_000
    assert sum(len(each["wallets"]) for each in _kept(report, None)) == 100_000  # type: ignore[arg-type]
