"""Combining what is new and loading it, on a directory and DuckDB."""

import gzip
import itertools
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from polycopy_assets.batches import parts
from polycopy_assets.batches.combine import combine, combine_all
from polycopy_assets.batches.load import agreed
from polycopy_assets.batches.manifests import forget, read_batches, read_manifests
from polycopy_assets.batches.plan import pending
from polycopy_assets.errors import ObjectExists, StoreError, WarehouseBusy
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.base import Stored
from polycopy_assets.trades.batch import Claim, Manifest, claimed_intervals
from polycopy_assets.trades.batch_rules import FURTHEST
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets.warehouse.feed_table import Held
from polycopy_assets_tests.bench import END, WALLETS, WORLD, Bench, duckdb_sql, expected, middle
from polycopy_assets_tests.of_trades import (
    SCHEMA,
    Directory,
    current,
    manifest_name,
    next_batch,
    unloaded,
)

HOLDER = """
import duckdb, sys, time
db = duckdb.connect(sys.argv[1])
print("open", flush=True)
time.sleep(60)
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", lock_wait=0.5)
    return Bench(Directory(tmp_path / "store"), warehouse, duckdb_sql(warehouse.path))


def names(manifest: Manifest) -> list[str]:
    assert manifest.claims_part is not None
    return sorted(part.name for part in (*manifest.parts, manifest.claims_part))


def test_only_what_is_new_is_combined_and_nothing_new_is_no_batch(bench: Bench):
    cut = middle(WALLETS[0])
    bench.fetch(WALLETS[0], 0, cut)
    bench.fetch(WALLETS[1])
    first = bench.combine()
    assert first is not None
    assert bench.combine() is None
    bench.fetch(WALLETS[0], cut, END)
    second = bench.combine()
    assert second is not None
    assert [(c.wallet, c.start) for c in second.claims] == [(WALLETS[0], cut)]
    assert first.rows + second.rows == 240 - sum(
        t.dust for w in WALLETS[:2] for t in WORLD.trades(w)
    )
    bench.load()
    assert bench.ids() == expected(WALLETS[:2])


def test_a_wallet_without_trades_makes_no_batch(bench: Bench):
    bench.fetch("0x" + "5" * 40)
    assert bench.combine() is None
    assert bench.load() == []


def test_trades_that_are_gone_from_the_record_are_claimed_to_be_gone_and_deleted(bench: Bench):
    old = bench.fetch(WALLETS[0], 0, END)
    bench.batch(WALLETS[1])
    bench.load()
    cut = middle(WALLETS[0])
    bench.segments[WALLETS[0]].remove(old)
    bench.fetch(WALLETS[0], 0, cut)
    bench.fetch(WALLETS[0], cut, END - 1, rows=0)
    manifest = bench.combine()
    assert manifest is not None
    assert [(c.start, c.until, c.rows > 0) for c in manifest.claims] == [
        (0, cut, True),
        (cut, END - 1, False),
    ]
    assert bench.combine() is None
    bench.load()
    held = [t for t in WORLD.truth(WALLETS[0]) if t.timestamp < cut]
    assert sum(bench.ids().values()) == len(held) + len(WORLD.truth(WALLETS[1]))


def test_an_empty_segment_behind_the_others_makes_no_batch(bench: Bench):
    bench.fetch(WALLETS[0])
    bench.combine()
    bench.fetch(WALLETS[0], END, END + 9)
    assert bench.combine() is None


def test_a_lost_or_changed_segment_leaves_out_its_wallet_and_names_it(bench: Bench):
    lost = bench.fetch(WALLETS[0])
    changed = bench.fetch(WALLETS[1])
    bench.fetch(WALLETS[2])
    bench.store.delete(lost.name)
    bench.store.delete(changed.name)
    bench.store.create(changed.name, gzip.compress(b""))
    combined = combine(bench.store, bench.claims(), 1)
    assert combined.manifest is not None
    assert {c.wallet for c in combined.manifest.claims} == {WALLETS[2]}
    assert set(combined.lost) == set(WALLETS[:2])
    assert lost.name in str(combined.lost[WALLETS[0]])
    bench.load()
    assert bench.ids() == expected([WALLETS[2]])


def test_parts_are_bounded_and_a_batch_may_have_many(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts.Sizes, "of", lambda _: parts.Sizes(part=1, ahead=1))
    for wallet in WALLETS:
        bench.fetch(wallet)
    manifest = bench.combine()
    assert manifest is not None
    assert len(manifest.parts) == len(WALLETS)
    bench.load()
    assert bench.ids() == expected(WALLETS)


def test_what_is_new_becomes_batches_of_bounded_size_and_a_wallet_may_span_them(bench: Bench):
    cuts = [0, *(WORLD.truth(WALLETS[0])[n].timestamp for n in (90, 60, 30)), END]
    for start, until in itertools.pairwise(cuts):
        bench.fetch(WALLETS[0], start, until)
    bench.fetch(WALLETS[1])
    made = [item.manifest for item in combine_all(bench.store, bench.claims(), 1, rows=70)]
    assert all(item is not None and item.rows <= 120 for item in made)
    assert len(made) > 2
    assert bench.claims() == []
    bench.load()
    assert bench.ids() == expected(WALLETS[:2])


def test_a_combine_that_is_killed_between_two_batches_goes_on_with_the_next(bench: Bench):
    cut = middle(WALLETS[0])
    bench.fetch(WALLETS[0], 0, cut)
    rest = bench.fetch(WALLETS[0], cut, END)
    next(combine_all(bench.store, bench.claims(), 1, rows=1))
    assert [item.segment for item in bench.claims()] == [rest.name]
    bench.combine()
    assert bench.claims() == []
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


def test_a_wallet_left_out_of_one_batch_is_left_out_of_the_next_ones_too(bench: Bench):
    cut = middle(WALLETS[0])
    gone = bench.fetch(WALLETS[0], 0, cut)
    bench.fetch(WALLETS[0], cut, END)
    bench.fetch(WALLETS[1])
    claims = sorted(bench.claims(), key=lambda item: (item.wallet != WALLETS[0], item.start))
    bench.store.delete(gone.name)
    made = list(combine_all(bench.store, claims, 1, rows=1))
    assert [sorted(item.lost) for item in made] == [[WALLETS[0]], [], []]
    assert [item.manifest and item.manifest.batch for item in made] == [None, None, 1]


def test_a_number_that_is_taken_is_never_committed_twice_and_leaves_nothing_behind(bench: Bench):
    bench.fetch(WALLETS[0])
    claims = bench.claims()
    first = combine(bench.store, claims, 1).manifest
    assert first is not None
    with pytest.raises(ObjectExists):
        combine(bench.store, claims, 1)
    parts = [item.name for item in bench.store.list("combined/parts/")]
    assert parts == names(first)


def test_leftovers_of_a_killed_attempt_are_cleared_and_never_loaded(bench: Bench):
    bench.store.create("combined/parts/00000001/dead/part-00000.parquet", b"half a file")
    bench.fetch(WALLETS[0])
    manifest = bench.combine()
    assert manifest is not None
    assert [item.name for item in bench.store.list("combined/parts/")] == names(manifest)


def test_overlapping_segments_count_once(bench: Bench):
    cut, earlier = middle(WALLETS[0]), WORLD.truth(WALLETS[0])[80].timestamp
    bench.fetch(WALLETS[0], 0, cut)
    rest = [t for t in WORLD.truth(WALLETS[0]) if t.timestamp >= cut]
    bench.fetch(WALLETS[0], earlier, END, claim_start=cut, rows=len(rest))
    bench.combine()
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


def test_batches_are_loaded_in_order_and_again_from_the_first_that_is_missing():
    batches = [Manifest(batch=n, rows=0, parts=[], claims=[], schema=SCHEMA) for n in (1, 2, 3, 4)]
    assert [m.batch for m in unloaded(batches, {1, 3, 4})] == [2, 3, 4]
    assert unloaded(batches, {1, 2, 3, 4}) == []
    assert unloaded(batches, set()) == batches


def test_a_batch_counts_as_loaded_if_its_manifest_is_the_one_that_was_loaded():
    held = Held(dict.fromkeys((1, 2, 3, 4)), None, {1: "00000001", 2: "00000002", 4: "00000004"})
    listed = {
        1: Stored(manifest_name(1), 9, "00000001"),
        2: Stored(manifest_name(2), 9, "99999999"),
        3: Stored(manifest_name(3), 9, "00000003"),
        4: Stored(manifest_name(4), 9),
    }
    assert agreed(held, listed) == {1, 3, 4}
    assert agreed(held, {}) == {1, 2, 3, 4}, "the store lists none of them"


def test_a_batch_without_todays_columns_is_combined_again_and_never_loaded(bench: Bench):
    bench.batch(*WALLETS[:2])
    name = manifest_name(1)
    (written,) = read_manifests(bench.store)
    older = msgspec.json.decode(bench.store.read(name))
    del older["schema"]
    bench.store.delete(name)
    bench.store.create(name, msgspec.json.encode(older))
    forget()
    found = read_batches(bench.store)
    assert current(found.sound) == []
    assert unloaded(found.sound, set()) == []
    assert pending(bench.versions, found.held) == sorted(WALLETS[:2])
    assert next_batch(found.sound, set()) == 2
    assert written.schema == SCHEMA


@pytest.mark.parametrize("last", [0, 3, 500])
def test_a_new_batch_never_has_a_number_that_the_table_is_believed_to_hold(bench: Bench, last: int):
    bench.batch(WALLETS[0])
    (one,) = read_manifests(bench.store)
    there = [msgspec.structs.replace(one, batch=number) for number in range(1, last + 1)]
    half = FURTHEST // 2
    for label in (
        1,
        last,
        last + 9,
        *(last + at + i for at in (half, FURTHEST) for i in (-1, 0, 1)),
    ):
        held = range(1, label + 1)
        number = next_batch(there, held)
        assert last < number <= last + FURTHEST
        new = msgspec.structs.replace(one, batch=number)
        assert new in unloaded([*there, new], held), label


def test_a_batch_of_a_newer_version_is_not_misread(bench: Bench):
    bench.batch(WALLETS[0])
    newer = msgspec.json.decode(bench.store.read(manifest_name(1))) | {"schema": SCHEMA + 1}
    bench.store.delete(manifest_name(1))
    bench.store.create(manifest_name(1), msgspec.json.encode(newer))
    forget()
    with pytest.raises(StoreError, match="newer version"):
        read_batches(bench.store)


def test_who_waits_too_long_for_the_file_says_for_what_and_for_whom(bench: Bench):
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            HOLDER,
            bench.warehouse.uri,
        ],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        slept: list[float] = []
        patient = DuckDBWarehouse(
            Path(bench.warehouse.uri), lock_wait=9, clock=lambda: sum(slept), sleep=slept.append
        )
        with pytest.raises(WarehouseBusy, match="waited 9 s") as error:
            patient.table(TRADES).count_rows()
        assert 9 <= sum(slept) <= 9 + max(slept)
        assert str(holder.pid) in str(error.value)
        assert bench.warehouse.uri in str(error.value)
    finally:
        holder.kill()
        holder.wait()
    assert bench.table.count_rows() == 0


def test_claims_of_neighbouring_segments_are_one_interval():
    claims = [
        Claim(segment="", wallet=w, start=a, until=b, rows=0, size=0, crc32c="", version="")
        for w, a, b in (("0xb", 5, 9), ("0xa", 0, 5), ("0xb", 0, 5), ("0xa", 7, 9))
    ]
    assert claimed_intervals(claims) == [
        ("0xa", (0, 5)),
        ("0xa", (7, 9)),
        ("0xb", (0, 9)),
    ]
    assert manifest_name(7) == "combined/manifests/00000007.json"
