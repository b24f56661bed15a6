"""A made-up feed: its rows have neither sides nor prices, and an amount that is exact.

What works for it does not know trades.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from email.message import Message
from email.utils import formatdate
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import polars as pl

from polycopy_assets.feeds.base import Assets, Endpoint, Feed, Parameters
from polycopy_assets.feeds.frame import EXACT, UTC, Frame, exact, identity, moments, numbered
from polycopy_assets.fetch.many_wallets import Fetcher
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.sources.budget import Window
from polycopy_assets.sources.open import open_source
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.columns import Relation
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import POLYMARKET, Int64, Shape, Shapes, Text
from polycopy_assets_tests.bench import END, WALLETS, Bench
from polycopy_assets_tests.fakes.answering import Answer, answering

WALLET = f"0x{7:040x}"
CONDITION = f"0x{9:064x}"
LAGS = {"payouts": 40.0, "balances": 900.0, "pnl": 3000.0}


class _Payout(
    msgspec.Struct, frozen=True, rename={"wallet": "owner", "tx_hash": "tx", "usdc": "amount"}
):
    wallet: Text
    timestamp: Int64
    tx_hash: Text
    usdc: float


def _asked(wallet: str, span: Interval) -> Parameters:
    return {"owner": wallet, "since": span.start, "until": span.until, "limit": 40}


def _table_rows(served: pl.DataFrame) -> pl.DataFrame:
    return numbered(served, ("usdc",)).select(
        wallet_address="wallet",
        id=identity(),
        timestamp=moments("timestamp"),
        type=pl.lit("PAYOUT"),
        usdc=exact("usdc"),
        is_final=pl.col("usdc") > 0,
        condition_id=pl.lit(CONDITION),
        source="source",
        sequence="sequence",
    )


def _frame() -> Frame:
    text, number, whole = pl.String(), pl.Float64(), pl.Int64()
    table = {
        "wallet_address": text,
        "id": text,
        "timestamp": UTC,
        "type": text,
        "usdc": EXACT,
        "is_final": pl.Boolean(),
        "condition_id": text,
        "source": text,
        "sequence": whole,
    }
    served = {"wallet": text, "timestamp": whole, "tx_hash": text, "usdc": number, "source": text}
    return Frame(table, frozenset(table) - {"is_final"}, served, _table_rows)


PAYOUTS = Feed(
    name="payouts",
    label="payout feed",
    row="payout",
    rows="payouts",
    assets=Assets(
        wallets="wallet_payouts",
        combined="combined_payouts",
        table="payouts",
        counts="payout_counts",
    ),
    notes="polycopy/payouts/",
    names=Names(
        segments="payouts/segments/",
        coverage="payouts/coverage/",
        combined="payouts/combined/",
        snapshots="record/payouts/",
    ),
    shapes=Shapes([Shape(POLYMARKET, _Payout)]),
    endpoints={
        POLYMARKET: Endpoint(
            path="/v2/payouts",
            rows="payouts",
            limit=40,
            asked=_asked,
            mechanisms=("payouts", "balances"),
        )
    },
    schema=7,
    relation=Relation("A payout.", {"usdc": "USDC that were paid out."}),
    views={},
    frame=_frame,
)


def payouts(number: int, wallet: str = WALLET) -> list[dict[str, Any]]:
    """Payouts, newest first, some of them alike in every byte."""
    random = Random(number)
    rows: list[dict[str, Any]] = []
    second = 1_700_000_000
    while len(rows) < number:
        second -= random.randrange(1, 9_000)
        row = {"owner": wallet, "timestamp": second, "tx": f"0xA{second:063x}", "amount": 2.5}
        rows += [row] * random.choice([1, 1, 1, 2, 3])
    return rows


class PayoutApi:
    """A source with one more feed: its rows in pages, and a status that names its mechanisms."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self.lags = LAGS
        self.asked: list[Mapping[str, list[str]]] = []

    def __call__(self, method: str, path: str, headers: Message, content: bytes) -> Answer:
        del method, headers, content
        parts = urlsplit(path)
        body = self._status() if parts.path == "/v2/status" else self._page(parse_qs(parts.query))
        assert parts.path in {"/v2/status", "/v2/payouts"}
        return Answer(200, {"Date": formatdate(usegmt=True)}, json.dumps(body).encode())

    def _status(self) -> dict[str, Any]:
        named = {name: {"age_seconds": lag} for name, lag in self.lags.items()}
        return {"data": {"age_seconds": 0, "serving": {"mechanisms": named}}}

    def _page(self, asked: Mapping[str, list[str]]) -> dict[str, Any]:
        self.asked.append(asked)
        since, until = int(asked["since"][0]), int(asked["until"][0])
        inside = [row for row in self._rows if since <= row["timestamp"] < until]
        at = int(asked.get("cursor", ["0"])[0])
        end = at + int(asked["limit"][0])
        more = end < len(inside)
        pagination = {"has_more": more, "next_cursor": str(end) if more else None}
        return {"data": inside[at:end], "pagination": pagination}


async def fetched(url: str, store: FeedStore, wallet: str = WALLET) -> Fetched:
    """The wallet, fetched as a run does it."""
    coverage = CoverageWriter(store, "test")
    async with open_source(
        POLYMARKET, url, store.feed, windows=[Window(999, 1)], concurrency=2, timeout=20
    ) as source:
        fetcher = Fetcher(
            source,
            store,
            concurrency=2,
            known=lambda wallet: (),
            coverage=coverage,
            progress=Progress(),
            segment_bytes=1,
        )
        (outcome,) = [each async for each in fetcher.fetch([wallet])]
    assert isinstance(outcome, Fetched), outcome
    if outcome.statement:
        coverage.add([outcome.statement])
    return outcome


def stored_payouts(store: FeedStore, wallet: str, number: int) -> Fetched:
    """Fetches so many payouts of `wallet` into `store`."""
    with answering(PayoutApi(payouts(number, wallet))) as url:
        return asyncio.run(fetched(url, store, wallet))


def _ledger(wallet: str) -> list[dict[str, Any]]:
    """Payouts whose amounts have six digits, the grain of the chain: floats do not add them up."""
    random = Random(wallet)
    return [
        {**row, "amount": random.choice([0.1, 0.000001, random.randrange(10**13) / 1e6])}
        for row in payouts(40, wallet)
    ]


LEDGERS = {wallet: _ledger(wallet) for wallet in WALLETS}
"""Served payouts of the wallets of a bench, newest first."""


def paid(wallets: Sequence[str]) -> dict[str, Decimal]:
    """What the rows of each wallet must add up to, to the last digit."""
    amounts = {w: [Decimal(str(row["amount"])) for row in LEDGERS[w]] for w in wallets}
    return {w: sum(found, Decimal(0)) for w, found in amounts.items()}


class PayoutBench(Bench):
    """The store and the warehouse of a bench, for payouts."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(FeedStore(bench.store, PAYOUTS), bench.warehouse, bench.sql)

    def fetch(self, wallet: str, start: int = 0, until: int = END, **changes: Any) -> Segment:
        """The same, of a source that only the record names."""
        return super().fetch(wallet, start, until, source=POLYMARKET, **changes)

    def served(self, wallet: str, span: Interval) -> list[bytes]:
        """The wallet's payouts in `span`."""
        rows = LEDGERS[wallet]
        return [
            msgspec.json.encode(row) for row in rows if span.start <= row["timestamp"] < span.until
        ]


def owed(wallets: Sequence[str]) -> Counter[tuple[str, str]]:
    """(wallet, transaction in lower case) of all rows that the table must hold."""
    return Counter((w, row["tx"].lower()) for w in wallets for row in LEDGERS[w])
