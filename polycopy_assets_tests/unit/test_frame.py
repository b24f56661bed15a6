"""From rows as served to rows of the table."""

import gzip
import hashlib
import random
from collections import Counter
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import dome_row, v2_row
from polycopy_assets.feeds.trades.frame import TABLE_SCHEMA
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.payload import within
from polycopy_assets_tests.of_trades import read_payload
from polycopy_assets_tests.recorded import FOLDERS
from polycopy_assets_tests.rows import as_lines, table_of

IDS = "77f17324bca3924589f61cc130941dd3dd1ace82b2d9f5a17278c3492f69fb70"
"""The hash over the ids of `trades()`, as the first version made them."""


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    return table_of(as_lines(rows))


def trades(seed: int = 3) -> list[Any]:
    world = generate(seed, 1, whales=1, whale_trades=400)
    return world.truth(world.wallets()[0])


def test_two_fills_alike_in_every_field_are_two_rows_with_ids_of_their_own():
    row = v2_row(trades()[0])
    found = frame([row, dict(row)])
    assert found["id"].to_list() == [f"{row['transaction_hash']}-{n}" for n in (0, 1)]


@pytest.mark.parametrize("shape", [v2_row, dome_row])
def test_ids_are_unique_and_do_not_depend_on_the_order_served(shape: Any):
    rows = [shape(trade) for trade in trades()]
    shuffled = random.Random(1).sample(rows, len(rows))
    columns = ["id", "token_id", "side", "price", "shares_normalized"]
    assert frame(rows).select(columns).equals(frame(shuffled).select(columns))
    assert frame(rows)["id"].n_unique() == len(rows)


def test_a_log_index_orders_before_anything_else():
    row = dome_row(trades()[0])
    found = frame([row | {"log_index": 9, "price": 0.1}, row | {"log_index": 4, "price": 0.9}])
    assert found["price"].to_list() == [0.9, 0.1]


@pytest.mark.parametrize(("source", "shape"), [("polymarket", v2_row), ("dome", dome_row)])
def test_the_columns_are_those_of_the_table_whatever_the_source(source: str, shape: Any):
    trade = trades()[0]
    found = frame([shape(trade)])
    assert found.schema == pl.Schema(TABLE_SCHEMA)
    (row,) = found.to_dicts()
    assert row["source"] == source
    assert row["wallet_address"] == trade.wallet
    assert row["timestamp"].replace(tzinfo=UTC) == datetime.fromtimestamp(trade.timestamp, UTC)
    assert (row["price"], row["shares_normalized"]) == (trade.price, trade.size)
    assert (row["token_label"], row["market_slug"]) == (trade.outcome, trade.slug)
    assert row["tx_hash"] == trade.tx_hash


def test_ids_are_those_of_every_version_before():
    """They stand in people's tables: `id` may never change."""
    found = frame([v2_row(trade) for trade in trades()])
    digest = hashlib.sha256("\n".join(found["id"]).encode()).hexdigest()
    assert digest == IDS


def test_the_sequence_is_the_order_of_a_wallets_trades_within_a_second():
    served = trades()
    assert len({trade.timestamp for trade in served}) < len(served)
    found = frame([v2_row(trade) for trade in served]).with_columns(
        pl.col("timestamp").dt.epoch("s")
    )
    place = {}
    for second, of_second in groupby(reversed(served), key=lambda trade: trade.timestamp):
        for number, trade in enumerate(of_second):
            key = (second, trade.tx_hash, trade.token_id, trade.side, trade.price, trade.size)
            place.setdefault(key, set()).add(number)
    rows = found.select(
        "timestamp", "tx_hash", "token_id", "side", "price", "shares_normalized", "sequence"
    ).rows()
    for *key, number in rows:
        assert number in place[tuple(key)]
    assert len({(row[0], row[-1]) for row in rows}) == len(rows), "two trades have one place"


def test_twins_have_places_of_their_own_and_the_label_999_is_none():
    row = v2_row(trades()[0]) | {"outcome_index": 999, "price": 0.25, "size": 8.0}
    found = frame([row, row, row | {"outcome_index": 1}])
    assert sorted(found["sequence"]) == [0, 1, 2]
    assert sorted(found["outcome_index"], key=str) == [1, None, None]
    assert set(found["notional_usdc"]) == {2.0}
    assert set(found["event_slug"]) == {row["event_slug"]}


def test_what_a_source_does_not_tell_is_null():
    (row,) = frame([dome_row(trades()[0])]).to_dicts()
    assert (row["outcome_index"], row["event_slug"], row["sequence"]) == (None, None, 0)


def test_an_empty_segment_has_no_rows():
    wallet, span = trades()[0].wallet, Interval(0, 10)
    assert read_payload(gzip.compress(b""), wallet, span) == (None, [], b"")


def test_a_claim_leaves_out_what_another_segment_answers_for():
    served = trades()
    times = sorted(trade.timestamp for trade in served)
    claim = Interval(times[50], times[-20])
    payload = gzip.compress(as_lines(v2_row(trade) for trade in served))
    found = read_payload(payload, served[0].wallet.lower(), Interval(0, times[-1] + 1))
    inside = [t for t in times if claim.start <= t < claim.until]
    assert sorted(row.timestamp for row in within(found.rows, claim)) == inside


@pytest.mark.parametrize("folder", FOLDERS)
def test_rows_as_served_keep_every_value(folder: Path):
    files = list(folder.glob("v2_*.jsonl"))
    assert files
    for path in files:
        rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        found = table_of(path.read_bytes())
        names = ("transaction_hash", "token_id", "side", "price", "size", "timestamp")
        table = found.with_columns(pl.col("timestamp").dt.epoch("s")).select(
            "tx_hash", "token_id", "side", "price", "shares_normalized", "timestamp"
        )
        assert Counter(table.rows()) == Counter(tuple(r[n] for n in names) for r in rows)
        assert found["id"].n_unique() == len(rows)


@pytest.mark.parametrize("folder", FOLDERS)
def test_dome_orders_as_served_keep_every_value(folder: Path):
    (path,) = folder.glob("dome_orders*.jsonl")
    rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
    found = table_of(path.read_bytes())
    names = ("tx_hash", "order_hash", "taker", "token_id", "side", "price", "shares_normalized")
    assert Counter(found.select(names).rows()) == Counter(tuple(r[n] for n in names) for r in rows)
    assert len(rows) == 200
