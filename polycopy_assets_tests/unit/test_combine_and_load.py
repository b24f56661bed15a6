"""Combining what is new and loading it, on a directory and DuckDB."""

import gzip
import itertools
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from polycopy_assets import combine as combining
from polycopy_assets.combine import combine, combine_all, new_claims, pending, read_manifests
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import v2_row
from polycopy_assets.errors import ObjectExists, WarehouseBusy, WarehouseError
from polycopy_assets.load import load, unloaded
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.batch import Claim, Manifest, claimed_intervals, manifest_name
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import Segment, data_version, segment_name
from polycopy_assets.warehouse.duckdb import DuckDBWarehouse

HOLDER = """
import duckdb, sys, time
db = duckdb.connect(sys.argv[1])
print("open", flush=True)
time.sleep(60)
"""
WORLD = generate(5, 4, whales=4, whale_trades=120)
WALLETS = [wallet.lower() for wallet in WORLD.wallets()]
END = 2_000_000_000


class Bench:
    """A store and a warehouse in a directory, and segments to put there."""

    def __init__(self, root: Path) -> None:
        self.store = LocalStore(root / "store")
        self.warehouse = DuckDBWarehouse(root / "w.duckdb", lock_wait=0.5)
        self.segments: dict[str, list[Segment]] = {}

    def fetch(self, wallet: str, start: int = 0, until: int = END, **changes: Any) -> Segment:
        """What a fetch of this interval leaves: a segment, known to the wallet's record."""
        trades = [t for t in WORLD.truth(wallet) if start <= t.timestamp < until]
        payload = gzip.compress(b"".join(msgspec.json.encode(v2_row(t)) + b"\n" for t in trades))
        self.store.create(segment_name(wallet, Interval(start, until)), payload)
        segment = Segment(
            wallet=wallet,
            start=start,
            until=until,
            rows=len(trades),
            size=len(payload),
            crc32c=crc32c(payload),
        )
        segment = msgspec.structs.replace(segment, **changes)
        self.segments.setdefault(wallet, []).append(segment)
        return segment

    @property
    def versions(self) -> dict[str, str]:
        return {wallet: data_version(found) for wallet, found in self.segments.items()}

    def claims(self) -> list[Claim]:
        manifests = read_manifests(self.store)
        wallets = pending(self.versions, manifests)
        return new_claims([(self.versions[w], self.segments[w]) for w in wallets], manifests)

    def combine(self) -> Manifest | None:
        return combine(self.store, self.claims(), len(read_manifests(self.store)) + 1).manifest

    def load(self) -> list[tuple[int, int]]:
        done = load(self.warehouse, read_manifests(self.store), self.store)
        return [(loaded.inserted, loaded.deleted) for _, loaded in done]

    def ids(self) -> Counter[tuple[str, str]]:
        with duckdb.connect(self.warehouse.uri) as db:
            return Counter(db.execute("SELECT wallet_address, tx_hash FROM trades").fetchall())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def expected(wallets: Sequence[str]) -> Counter[tuple[str, str]]:
    return Counter((w, t.tx_hash) for w in wallets for t in WORLD.truth(w))


def names(manifest: Manifest) -> list[str]:
    assert manifest.claims_part is not None
    return sorted(part.name for part in (*manifest.parts, manifest.claims_part))


def middle(wallet: str) -> int:
    return WORLD.truth(wallet)[60].timestamp


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


def test_a_wallet_without_trades_is_combined_once_as_a_claim(bench: Bench):
    nobody = "0x" + "5" * 40
    bench.fetch(nobody)
    manifest = bench.combine()
    assert manifest is not None
    assert (manifest.rows, manifest.parts, len(manifest.claims)) == (0, [], 1)
    assert bench.combine() is None
    assert bench.load() == [(0, 0)]


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
    assert lost.name in combined.lost[WALLETS[0]]
    bench.load()
    assert bench.ids() == expected([WALLETS[2]])


def test_parts_are_bounded_and_a_batch_may_have_many(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(combining, "PART_BYTES", 1)
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


def test_loading_again_changes_nothing_and_rows_of_others_stay(bench: Bench):
    bench.fetch(WALLETS[0])
    manifest = bench.combine()
    assert manifest is not None
    with bench.warehouse._open() as db:
        db.execute("INSERT INTO trades (wallet_address, id) VALUES ('0xother', 'kept')")
        db.execute(
            "INSERT INTO trades (wallet_address, id, timestamp) VALUES"
            " (?, 'surplus', '2023-01-01'), (?, 'later', '2100-01-01')",
            [WALLETS[0], WALLETS[0]],
        )
    assert bench.load() == [(manifest.rows, 1)]
    assert bench.load() == []
    again = bench.warehouse.load(manifest, bench.store)
    assert (again.inserted, again.deleted) == (manifest.rows, manifest.rows)
    assert bench.warehouse.rows_by_wallet() == {WALLETS[0]: manifest.rows + 1, "0xother": 1}
    assert bench.warehouse.loaded_batches() == {1}


def test_a_batch_whose_parts_are_not_what_the_manifest_says_is_not_loaded_at_all(bench: Bench):
    bench.fetch(WALLETS[0])
    manifest = bench.combine()
    assert manifest is not None
    bench.load()
    wrong = msgspec.structs.replace(manifest, rows=manifest.rows + 1)
    with pytest.raises(WarehouseError, match="nothing was loaded"):
        bench.warehouse.load(wrong, bench.store)
    assert bench.ids() == expected(WALLETS[:1])


def test_batches_are_loaded_in_order_and_again_from_the_first_that_is_missing():
    batches = [Manifest(batch=n, rows=0, parts=[], claims=[]) for n in (1, 2, 3, 4)]
    assert [m.batch for m in unloaded(batches, {1, 3, 4})] == [2, 3, 4]
    assert unloaded(batches, {1, 2, 3, 4}) == []
    assert unloaded(batches, set()) == batches


def test_an_older_table_is_widened_and_keeps_its_rows(bench: Bench):
    with duckdb.connect(bench.warehouse.uri) as db:
        db.execute("CREATE TABLE trades (id VARCHAR, price DOUBLE, wallet_address VARCHAR, x INT)")
        db.execute("INSERT INTO trades VALUES ('old', 0.5, '0xold', 7)")
    bench.fetch(WALLETS[0])
    bench.combine()
    bench.load()
    with duckdb.connect(bench.warehouse.uri) as db:
        assert db.execute("SELECT price, x FROM trades WHERE id = 'old'").fetchall() == [(0.5, 7)]
    assert bench.warehouse.count_rows() == 1 + expected(WALLETS[:1]).total()


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
        started = time.monotonic()
        with pytest.raises(WarehouseBusy) as error:
            bench.warehouse.count_rows()
        assert 0.4 < time.monotonic() - started < 5
        assert str(holder.pid) in str(error.value)
        assert bench.warehouse.uri in str(error.value)
    finally:
        holder.kill()
        holder.wait()
    assert bench.warehouse.count_rows() == 0


def test_traders_are_added_once_whatever_their_case(bench: Bench):
    assert bench.warehouse.add_traders(["0xa", "0xb"]) == 2
    assert bench.warehouse.add_traders(["0xA", "0xc"]) == 1
    assert bench.warehouse.add_traders([]) == 0
    assert bench.warehouse.traders() == ["0xa", "0xb", "0xc"]


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
