"""Every feed is fetched, united, combined and described by the same code, and shares no object.

Beside the real ones a made-up feed is used here, whose rows have neither sides nor prices: what
works for it does not know trades.
"""

import asyncio
import gzip
import json
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest

from polycopy_assets.batches.combine import combine
from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.batches.plan import InRecord, new_claims, next_batch
from polycopy_assets.dimensions.columns import DIMENSIONS
from polycopy_assets.dimensions.objects import PREFIX
from polycopy_assets.errors import ConfigurationError, ContractBroken
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.segment_reader import read_segment
from polycopy_assets.record import commit
from polycopy_assets.sources.open import open_source
from polycopy_assets.sources.polymarket import MARGIN
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.segment import data_version
from polycopy_assets_tests.fakes.answering import answering
from polycopy_assets_tests.payouts import LAGS, PAYOUTS, WALLET, PayoutApi, fetched, payouts

OF_THE_STORE = ("wanted/", "record/lease/", "leaderboard/", "quarantine/", PREFIX, ".incoming/")


def combined(store: FeedStore, outcome: Fetched) -> pl.DataFrame:
    """What a combine makes of the wallet: the rows of its table, from the store."""
    version = data_version(outcome.segments)
    record = InRecord(WALLET, version, outcome.segments, outcome.covered_until)
    found = read_batches(store)
    claims = new_claims(store.names, [record], found.held)
    manifest = combine(store, claims, next_batch(store.names, found.sound, ())).manifest
    assert manifest is not None
    assert manifest.schema == store.feed.schema
    assert read_batches(store).held.get(WALLET).holds(version)
    rows: list[pl.DataFrame] = []
    for part in manifest.parts:
        with store.local(part.name) as path:
            rows.append(pl.read_parquet(path))
    return pl.concat(rows).sort("timestamp", "sequence")


@pytest.fixture
def whole(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_another_feed_is_fetched_united_and_combined_by_the_same_code(whole: LocalStore):
    rows, store = payouts(300), FeedStore(whole, PAYOUTS)
    api = PayoutApi(rows)
    with answering(api) as url:
        first = asyncio.run(fetched(url, store))
        pages = len(api.asked)
        api.lags = LAGS | {"balances": 600.0}
        again = asyncio.run(fetched(url, store))
    assert pages > 300 // 40
    (last,) = api.asked[pages:]
    assert int(last["since"][0]) == first.covered_until, "what is stored is not asked for again"
    assert again.new_rows == 0
    # The horizon trails the slowest mechanism of the feed, and not that of others.
    assert first.horizon is not None
    assert again.horizon is not None
    assert first.horizon.lag == LAGS["balances"]
    assert first.horizon.until == first.horizon.at - LAGS["balances"] - MARGIN
    assert again.horizon.lag == 600
    # More segments than a wallet may have: the second fetch has united them.
    assert len(first.segments) > 16 >= len(again.segments)
    assert data_version(first.segments) == data_version(again.segments)
    assert all(item.name.startswith("payouts/segments/") for item in again.segments)
    lines = [
        json.loads(line)
        for item in reversed(again.segments)
        for line in gzip.decompress(store.read(item.name)).splitlines()
    ]
    assert lines == rows
    # The record of the feed's asset gives the same segments back.
    text = commit.encode(again.segments, again.covered_until)
    assert commit.decode(WALLET, text, folder=PAYOUTS.names.segments).segments == again.segments
    newest = again.segments[-1]
    assert read_segment(store, WALLET, newest.span, newest.claim) == newest
    stated = read_coverage(store).of(WALLET)
    assert stated is not None
    assert stated.until == again.covered_until
    table = combined(store, again)
    assert table["usdc"].sum() == 2.5 * len(rows)
    assert table["id"].n_unique() == len(table) == len(rows)
    twins = table.filter(pl.col("timestamp").is_duplicated())
    assert {name.rpartition("-")[2] for name in twins["id"]} == {"0", "1", "2"}
    files = [path.relative_to(whole.root) for path in whole.root.rglob("*") if path.is_file()]
    assert {path.parts[0] for path in files} == {"payouts"}


def test_two_feeds_of_one_store_do_not_see_each_other(whole: LocalStore):
    with answering(PayoutApi(payouts(30))) as url:
        outcome = asyncio.run(fetched(url, FeedStore(whole, PAYOUTS)))
    store = FeedStore(whole, PAYOUTS)
    combined(store, outcome)
    other = FeedStore(store, TRADES)
    assert other.whole is whole
    assert not read_batches(other).sound
    assert len(read_batches(store).sound) == 1, "each is remembered by itself"
    assert not read_coverage(other).objects
    assert not list(other.list(other.names.wallet(WALLET)))
    # The names of one mean nothing to the other.
    assert other.names.parse_segment(outcome.segments[0].name) is None
    assert other.names.parse_manifest(store.names.manifest(1)) is None
    with pytest.raises(ContractBroken, match="do not say which source"):
        PAYOUTS.shapes.guess(b"{}")


def test_a_source_that_does_not_serve_a_feed_is_refused_by_name():
    async def opened() -> None:
        async with open_source(
            "dome", "http://127.0.0.1:9", PAYOUTS, windows=[], concurrency=1, timeout=1
        ):
            pass

    with pytest.raises(ConfigurationError, match=r"'dome' does not serve payouts; .*: polymarket"):
        asyncio.run(opened())


def test_no_two_feeds_share_a_folder_a_table_or_an_asset():
    feeds = [*FEEDS.values(), PAYOUTS]
    assert [feed.name for feed in feeds] == [*FEEDS, "payouts"]
    folders = [*OF_THE_STORE, *(folder for feed in feeds for folder in feed.names.folders)]
    assert all(folder.endswith("/") for folder in folders)
    assert not [pair for pair in combinations(sorted(folders), 2) if pair[1].startswith(pair[0])]
    words = [word for feed in feeds for word in (*vars(feed.assets).values(), *feed.views)]
    assert len({*words, *DIMENSIONS}) == len(words) + len(DIMENSIONS)
    notes = {feed.name: feed.notes for feed in feeds}
    assert notes == {name: f"polycopy/{name}/" for name in notes} | {"trades": "polycopy/"}


def test_the_objects_of_trades_are_called_what_they_were_always_called():
    names, span = TRADES.names, Interval(5, 1_700_000_000)
    segment = f"trades/{WALLET}/0000000005-1700000000.jsonl.gz"
    assert names.segment(WALLET.upper().replace("0X", "0x"), span) == segment
    assert names.parse_segment(segment) == (WALLET, span)
    assert names.marker(WALLET) == f"trades/{WALLET}/refetch.json"
    assert names.parse_marker(names.marker(WALLET)) == WALLET
    covered = "coverage/00000003-ab000000-0123abcd.jsonl.gz"
    assert names.coverage_object(3, "ab", "0123abcdef") == covered
    assert names.parse_coverage(covered) == (3, "ab000000")
    assert names.manifest(12) == "combined/manifests/00000012.json"
    assert names.parse_manifest("combined/manifests/00000012.json") == 12
    assert names.batch(12) == "combined/parts/00000012/"
    summary = f"combined/summaries/00000012-{'a' * 16}.jsonl.gz"
    assert names.summary(12, "a" * 64) == summary
    assert names.parse_summary(summary) == 12
    backwards = f"trades/{WALLET}/0000000009-0000000005.jsonl.gz"
    for strange in (f"{segment}x", f"x{segment}", backwards, "trades/"):
        assert names.parse_segment(strange) is None


def test_a_folder_is_matched_as_it_is_written():
    span = Interval(5, 9)
    names = Names(segments="a.b/", coverage="c+/", combined="d(1)/", snapshots="e$/")
    others = Names(segments="a-b/", coverage="cc/", combined="d1/", snapshots="e/")
    made = {
        Names.parse_segment: lambda each: each.segment(WALLET, span),
        Names.parse_marker: lambda each: each.marker(WALLET),
        Names.parse_coverage: lambda each: each.coverage_object(1, "ab", "0" * 8),
        Names.parse_manifest: lambda each: each.manifest(1),
        Names.parse_summary: lambda each: each.summary(1, "0" * 16),
        Names.parse_snapshot: lambda each: each.snapshot(1, "0" * 8),
    }
    for parse, name in made.items():
        assert parse(names, name(names)) is not None
        assert parse(names, name(others)) is None
