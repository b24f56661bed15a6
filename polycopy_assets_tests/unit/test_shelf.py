"""A lost record is rebuilt so that it says what was combined: nothing is combined again."""

import gzip
from pathlib import Path

import msgspec

from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.demo.world import v2_row
from polycopy_assets.fetch.segment_reader import read_segment
from polycopy_assets.ledger.facts import Facts
from polycopy_assets.reconcile.shelf import Shelf
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import Segment, StoredSegment, data_version
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.bench import END, WALLETS, WORLD, Bench, duckdb_sql, middle
from polycopy_assets_tests.fakes.counting import CountingStore
from polycopy_assets_tests.of_trades import MANIFESTS, PREFIX, segment_name


def counted(tmp_path: Path) -> tuple[Bench, CountingStore]:
    store = CountingStore(tmp_path / "store")
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    return Bench(store, warehouse, duckdb_sql(warehouse.path)), store


def without_a_record(*segments: Segment) -> Facts:
    stored = tuple(StoredSegment(span=item.span, size=item.size) for item in segments)
    return Facts(wallet=segments[0].wallet, stored=stored)


def test_segments_that_batches_name_are_not_read_and_manifests_once_for_all_wallets(tmp_path: Path):
    bench, store = counted(tmp_path)
    found = [bench.fetch(wallet) for wallet in WALLETS[:3]]
    bench.combine()
    shelf = Shelf(store, read_batches(store).held)
    facts = [without_a_record(item) for item in found]
    store.reads.clear()
    shelf.look_up(facts)
    for segment, item in zip(found, facts, strict=True):
        assert shelf.segments(item) == ((segment,), "")
    assert not store.below(PREFIX)
    assert sum(store.below(MANIFESTS).values()) <= 1


def test_a_union_of_segments_that_were_combined_keeps_their_data_version(tmp_path: Path):
    """Those have no digests: an older version wrote them."""
    bench, store = counted(tmp_path)
    wallet, cut = WALLETS[0], middle(WALLETS[0])
    parts = [bench.fetch(wallet, 0, cut), bench.fetch(wallet, cut, END)]
    combined = data_version(parts)
    bench.combine()
    for part in parts:
        store.delete(part.name)
    union = bench.fetch(wallet, 0, END)
    shelf = Shelf(store, read_batches(store).held)
    facts = without_a_record(union)
    shelf.look_up([facts])
    (segment,), damaged = shelf.segments(facts)
    assert not damaged
    assert segment.crc32c == union.crc32c
    assert data_version([segment]) == combined
    held = read_batches(store).held.get(wallet)
    assert held.holds(data_version([segment]))


def test_a_union_with_other_rows_than_were_combined_is_new(tmp_path: Path):
    bench, store = counted(tmp_path)
    wallet, cut = WALLETS[0], middle(WALLETS[0])
    bench.fetch(wallet, 0, cut)
    bench.combine()
    union = bench.fetch(wallet, 0, END)
    shelf = Shelf(store, read_batches(store).held)
    facts = without_a_record(union)
    shelf.look_up([facts])
    (segment,), _ = shelf.segments(facts)
    assert segment.digest
    assert segment.rows == union.rows
    assert not read_batches(store).held.get(wallet).holds(data_version([segment]))


def test_as_many_other_rows_than_were_combined_are_new(tmp_path: Path):
    """A refetch has brought a corrected price, and its record was lost before it was combined."""
    bench, store = counted(tmp_path)
    wallet, span = WALLETS[0], Interval(0, END + 1000)
    first = bench.fetch(wallet, 0, END)
    bench.segments[wallet] = [read_segment(store, wallet, first.span, first.span)]
    bench.combine()
    store.delete(first.name)
    rows = [v2_row(trade) for trade in WORLD.truth(wallet) if trade.timestamp < END]
    rows[0] = {**rows[0], "price": 0.123456}
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    store.create(segment_name(wallet, span), gzip.compress(lines))
    true = read_segment(store, wallet, span, span)
    assert true.rows == first.rows
    shelf = Shelf(store, read_batches(store).held)
    facts = without_a_record(true)
    shelf.look_up([facts])
    (segment,), damaged = shelf.segments(facts)
    assert not damaged
    assert segment.digest == true.digest
    assert not read_batches(store).held.get(wallet).holds(data_version([segment]))
