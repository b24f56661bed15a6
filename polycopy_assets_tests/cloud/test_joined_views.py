"""What can be told of a ledger and what cannot, on rows made for it; when the views are made."""

import io
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from polycopy_assets.dimensions.columns import DIMENSIONS
from polycopy_assets.dimensions.facts import Facts, Market, Token
from polycopy_assets.dimensions.tables import table
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.warehouse.bigquery import warehouse
from polycopy_assets.warehouse.holdings import Verdict
from polycopy_assets.warehouse.joined import joined, lacking
from polycopy_assets_tests.bench import Bench
from polycopy_assets_tests.cloud.batches import OURS, GoogleBench
from polycopy_assets_tests.cloud.test_relations import said

EVENT, ALONE, STRANGE = (f"0x{n:064x}" for n in (99, 4, 5))
NOW = datetime.now(UTC)
COMBO = f"0x03{7:032x}{0:030x}"
TOLD, UNTOLD, OVERDRAWN, STRANGER, BELOW, REDEEMED, EARLIER = (f"0x{n:040x}" for n in range(7))
MIXED, SILENT, FRESH, PARLAY, UNLABELLED, LATE = (f"0x{n:040x}" for n in range(7, 13))
MONTH = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)

_INSERT = (
    "INSERT INTO {}activity (wallet_address, id, sequence, timestamp, type, side, token_id,"
    " condition_id, shares, price, usdc, is_combo, source) VALUES (@wallet, @id, @sequence,"
    " CAST(@at AS TIMESTAMP), @kind, NULLIF(@side, ''), NULLIF(@token, ''),"
    " NULLIF(@condition, ''), CAST(NULLIF(@shares, '') AS DECIMAL(38, 9)), 0.25,"
    " CAST(@usdc AS DECIMAL(38, 9)), SUBSTR(@condition, 1, 4) = '0x03', 'polymarket')"
)
OLD, NEW = "2024-05-06 12:00:00", f"{NOW:%Y-%m-%d %H:%M:%S}"


def question(number: int) -> str:
    return f"0x{number:064x}"


def facts() -> list[Facts]:
    """An event of three questions, the last one new, and a new market, in which Yes came true."""
    opened = Market(start_date=int(MONTH.timestamp()) + 86_400)
    event = [
        Facts(
            condition=question(number),
            since=1,
            market=opened if number == 3 else Market(start_date=1),
            tokens=tuple(
                Token(
                    token_id=f"{number}{index}",
                    outcome_index=index,
                    neg_risk=True,
                    neg_risk_market_id=EVENT,
                    question_index=number,
                )
                for index in (0, 1)
            ),
        )
        for number in (1, 2, 3)
    ]
    paid = [
        Token(token_id=f"4{n}", outcome_index=n, resolved=True, final_price=Decimal(1 - n))
        for n in (0, 1)
    ]
    return [*event, Facts(condition=ALONE, since=1, market=opened, tokens=tuple(paid))]


def rows() -> list[tuple[str, str, str, str, str, str, int | None, int]]:
    """(wallet, time, type, side, token, condition, shares, usdc), in their order."""

    def no(wallet: str, *shares: int) -> list[Any]:
        return [
            (wallet, OLD, "TRADE", "BUY", f"{n}1", question(n), size, 1)
            for n, size in enumerate(shares, start=1)
            if size
        ]

    return [
        *no(TOLD, 10, 10, 4),
        (TOLD, OLD, "CONVERSION", "", "", EVENT, 10, 10),
        (TOLD, OLD, "TRADE", "SELL", "30", question(3), 9, 1),
        *no(UNTOLD, 10, 10, 10),
        (UNTOLD, OLD, "CONVERSION", "", "", EVENT, 10, 10),
        *no(OVERDRAWN, 5),
        (OVERDRAWN, OLD, "CONVERSION", "", "", EVENT, 10, 0),
        (STRANGER, OLD, "SPLIT", "", "", STRANGE, 5, 5),
        (STRANGER, OLD, "TRADE", "SELL", "50", STRANGE, 5, 1),
        (BELOW, NEW, "TRADE", "SELL", "40", ALONE, 3, 1),
        (REDEEMED, OLD, "SPLIT", "", "", ALONE, 2, 2),
        (REDEEMED, NEW, "REDEEM", "", "", ALONE, 2, 2),
        (EARLIER, OLD, "TRADE", "BUY", "10", question(1), 2, 1),
        (EARLIER, NEW, "TRADE", "SELL", "10", question(1), 2, 1),
        # One redemption names its token, and one of the same second does not.
        (MIXED, OLD, "TRADE", "BUY", "40", ALONE, 10, 1),
        (MIXED, OLD, "TRADE", "BUY", "41", ALONE, 4, 1),
        (MIXED, OLD, "REDEEM", "", "", ALONE, 10, 10),
        (MIXED, OLD, "REDEEM", "", "41", ALONE, 4, 0),
        (SILENT, OLD, "TRADE", "BUY", "10", question(1), None, 1),
        (SILENT, OLD, "TRADE", "SELL", "10", question(1), 5, 1),
        (SILENT, OLD, "TRADE", "BUY", "21", question(2), None, 1),
        # No of a question that is newer than the tables of tokens.
        *no(FRESH, 5),
        (FRESH, OLD, "TRADE", "BUY", "91", STRANGE, 5, 1),
        (FRESH, OLD, "CONVERSION", "", "", EVENT, 10, 0),
        (PARLAY, OLD, "SPLIT", "", "", COMBO, 3, 3),
        (PARLAY, OLD, "TRADE", "SELL", "70", COMBO, 3, 1),
        (UNLABELLED, OLD, "TRADE", "BUY", "40", ALONE, 2, 1),
        (UNLABELLED, OLD, "TRADE", "BUY", "40", "", 1, 1),
        *no(LATE, 10),
        (LATE, NEW, "TRADE", "BUY", "31", question(3), 5, 1),
        (LATE, NEW, "CONVERSION", "", "", EVENT, 10, 0),
    ]


def replace_dimensions(bench: Bench, *others: Facts) -> None:
    for name in DIMENSIONS:
        file, made = io.BytesIO(), table(name, [*facts(), *others])
        made.write_parquet(file)
        bench.store.create(f"dimensions/tables/{name}.parquet", file.getvalue())
        bench.warehouse.dimensions.replace(
            name, f"dimensions/tables/{name}.parquet", len(made), bench.store
        )
    bench.warehouse.dimensions.describe()


def made(bench: Bench) -> set[str]:
    return said(bench).keys() & joined().keys()


@pytest.mark.parametrize("bench", ["duckdb", "double"], indirect=True)
def test_what_cannot_be_told_is_no_failure_and_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    ledger = bench.warehouse.table(ACTIVITY)
    assert bench.warehouse.below_zero([], 5).lacks == "activity"
    replace_dimensions(bench)
    assert made(bench) == set(), "there is no table of a feed"
    ledger.take_over(OURS)
    ledger.describe()
    assert made(bench) == {"activity_named", "redemptions", "open_exposure"}
    catalogue = said(bench)
    for name in made(bench):
        meaning, columns = catalogue[name]
        assert str(meaning).startswith(joined()[name].relation.meaning)
        assert columns == joined()[name].relation.columns
    for number, (wallet, at, kind, side, token, condition, shares, usdc) in enumerate(rows()):
        named = {"wallet": wallet, "id": str(number), "sequence": number, "at": at, "kind": kind}
        moved = {"shares": "" if shares is None else str(shares), "usdc": str(usdc)}
        bench.sql(_INSERT, **named, side=side, token=token, condition=condition, **moved)

    exposed = bench.sql(
        "SELECT wallet_address, token_id, shares, is_exact, price, value_usdc"
        " FROM {}open_exposure ORDER BY 1, 2"
    )
    last = Decimal("0.25")
    assert exposed == [
        (TOLD, "30", 1, True, last, Decimal("0.25")),
        (TOLD, "31", 4, True, last, 1),
        *((UNTOLD, f"{n}1", 10, False, last, Decimal("2.5")) for n in (1, 2, 3)),
        (OVERDRAWN, "11", 5, False, last, Decimal("1.25")),
        (STRANGER, "50", -5, False, last, Decimal("-1.25")),
        (BELOW, "40", -3, True, 1, -3),
        (SILENT, "10", -5, False, last, Decimal("-1.25")),
        (SILENT, "21", None, False, last, None),
        *((FRESH, token, 5, False, last, Decimal("1.25")) for token in ("11", "91")),
        (PARLAY, "70", -3, False, last, Decimal("-0.75")),
        (UNLABELLED, "40", 3, True, 1, 3),
        (LATE, "20", 10, True, None, None),
        (LATE, "30", 10, True, last, Decimal("2.5")),
        (LATE, "31", 5, True, last, Decimal("1.25")),
    ]
    found = bench.warehouse.below_zero([], 5)
    assert found.totals == {
        Verdict.BELOW: 2,
        Verdict.CONVERTED: 1,
        Verdict.UNKNOWN: 2,
        Verdict.UNTOLD: 4,
        Verdict.HELD: 17,
    }
    assert found.since is None
    assert found.first == [
        (OVERDRAWN, EVENT, None, -5, datetime.fromisoformat(OLD).date()),
        (BELOW, ALONE, "40", -3, NOW.date()),
    ]
    assert [each.wallet for each in bench.warehouse.below_zero([OVERDRAWN], 5).first] == [BELOW]
    assert bench.warehouse.below_zero([], 1).totals == found.totals
    assert bench.sql("SELECT token_id, is_paid, usdc FROM {}redemptions ORDER BY usdc") == [
        ("41", False, 0),
        ("40", True, 2),
        ("40", True, 10),
    ]

    if isinstance(bench, GoogleBench):
        # Too much to read: of what was read, only markets that opened since then are judged.
        monkeypatch.setattr(warehouse, "CHECK_BYTES", 1)
        bounded = bench.warehouse.below_zero([REDEEMED], 5)
        assert bounded.since == MONTH
        assert bounded.totals == {Verdict.BELOW: 1, Verdict.OLDER: 1, Verdict.HELD: 1}
        assert [each.wallet for each in bounded.first] == [BELOW]


@pytest.mark.parametrize("bench", ["duckdb", "double"], indirect=True)
def test_a_condition_that_is_named_without_its_last_byte_is_the_same_one(bench: Bench):
    short = f"0x{6:062x}"
    paid = [
        Token(token_id=f"6{n}", outcome_index=n, resolved=True, final_price=Decimal(1 - n))
        for n in (0, 1)
    ]
    replace_dimensions(
        bench, Facts(condition=f"{short}00", since=1, market=Market(closed=True), tokens=(*paid,))
    )
    for feed in (TRADES, ACTIVITY):
        bench.warehouse.table(feed).take_over(OURS)
        bench.warehouse.table(feed).describe()
    bench.sql(
        "INSERT INTO {}trades (wallet_address, id, timestamp, side, price, shares_normalized,"
        " token_id, condition_id, tx_hash, source, sequence, notional_usdc) VALUES (@wallet, '1',"
        " CAST(@at AS TIMESTAMP), 'BUY', 0.5, 1, '60', @condition, '0x1', 'polymarket', 0, 0.5)",
        wallet=TOLD,
        at=OLD,
        condition=short,
    )
    for number, kind in enumerate(("SPLIT", "REDEEM")):
        named = {"wallet": TOLD, "id": str(number), "sequence": number, "at": OLD, "kind": kind}
        moved = {"side": "", "token": "", "condition": short.upper().replace("X", "x")}
        bench.sql(_INSERT, **named, **moved, shares="2", usdc="2")
    assert bench.sql("SELECT closed FROM {}trades_named") == [(True,)]
    assert bench.sql("SELECT closed FROM {}activity_named") == [(True,), (True,)]
    assert bench.sql("SELECT token_id FROM {}redemptions") == [("60",)]
    assert bench.sql("SELECT token_id, shares FROM {}open_exposure") == []
    assert bench.warehouse.below_zero([], 5).totals == {Verdict.HELD: 2}


@pytest.mark.parametrize("bench", ["duckdb"], indirect=True)
def test_thousands_of_wallets_that_are_left_out_cost_hardly_anything(bench: Bench):
    replace_dimensions(bench)
    ledger = bench.warehouse.table(ACTIVITY)
    ledger.take_over(OURS)
    bench.sql(
        "INSERT INTO {}activity (wallet_address, id, sequence, timestamp, type, side, token_id,"
        " condition_id, shares, usdc, is_combo, source)"
        " SELECT '0x' || lpad(lower(to_hex(n)), 40, '0'), n, 0,"
        " TIMESTAMP '2024-05-06 12:00:00', 'TRADE', 'BUY', '40', @condition, 1, 1, false,"
        " 'polymarket' FROM range(50000) AS numbers(n)",
        condition=ALONE,
    )
    # As many as a fetch records while a large table is loaded.
    fetched = [f"0x{n:040x}" for n in range(10_000, 14_000)]
    spent = []
    for left_out in ([], fetched):
        began = time.process_time()
        found = bench.warehouse.below_zero(left_out, 5)
        spent.append(time.process_time() - began)
        assert found.totals == {Verdict.HELD: 50_000 - len(left_out)}
    assert spent[1] < 3 * spent[0] + 0.3


def test_of_every_table_and_view_that_is_missing_it_is_said_what_makes_it():
    for feed in FEEDS.values():
        line = lacking(feed.table, (), "w")
        assert line
        assert f"there is no table {feed.table} in w yet, which `polycopy backfill` makes" in line
        assert feed.bare or line.endswith(f" with POLYCOPY_FEEDS=trades,{feed.name}")
    for name in DIMENSIONS:
        assert "which `polycopy markets` makes" in (lacking(name, (), "w") or "")
    for name in joined():
        assert f"there is no view {name} in w yet: it needs table" in (lacking(name, (), "w") or "")
