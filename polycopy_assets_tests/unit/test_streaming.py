"""Segments are read in blocks: nothing depends on where a block ends, and memory is bounded."""

import gzip
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polycopy_assets.batches import parts
from polycopy_assets.batches.combine import combine
from polycopy_assets.batches.parts import check_claim, unreadable
from polycopy_assets.batches.read_ahead import read_ahead
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import v2_row
from polycopy_assets.errors import ContractBroken, ObjectLost
from polycopy_assets.feeds.trades.frame import table_rows
from polycopy_assets.feeds.trades.shapes import SHAPES
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.reading import Readings
from polycopy_assets.trades import payload
from polycopy_assets.trades.batch import Claim, Manifest, claim
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.payload import Packer, Reader, unpack
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import POLYMARKET, ServedRow
from polycopy_assets.warehouse.duckdb.file import DuckDBFile
from polycopy_assets_tests.of_trades import (
    Directory,
    columns_of,
    read_payload,
    segment_name,
    served_frame,
)
from polycopy_assets_tests.rows import table_of
from polycopy_assets_tests.unit.test_one_reading import WALLET, members, raw

EVER = Interval(0, 9_999_999_999)
WORLD = generate(9, 2, whales=2, whale_trades=400)
WHALES = sorted(wallet.lower() for wallet in WORLD.wallets())
ROW = msgspec.json.Decoder(dict[str, object])


def lines_of(wallet: str) -> list[bytes]:
    """All rows of a wallet as served, newest first."""
    return [msgspec.json.encode(v2_row(trade)) + b"\n" for trade in WORLD.truth(wallet)]


def members_of(lines: list[bytes], each: int) -> bytes:
    """A segment whose gzip members hold `each` lines."""
    packed: list[bytes] = []
    for start in range(0, len(lines), each):
        packer = Packer(POLYMARKET)
        packer.add(b"".join(lines[start : start + each]))
        packed.append(packer.finish())
    return b"".join(packed)


def stored(store: Directory, wallet: str, data: bytes, rows: int) -> Claim:
    """The claim of a segment that holds `data`."""
    store.create(segment_name(wallet, EVER), data)
    segment = Segment(
        folder="trades/",
        wallet=wallet,
        start=EVER.start,
        until=EVER.until,
        rows=rows,
        size=len(data),
        crc32c=crc32c(data),
        source=POLYMARKET,
    )
    return claim(segment, "version")


def table(store: Directory, manifest: Manifest | None) -> pl.DataFrame:
    """The rows of all parts, in the order of the parts."""
    assert manifest is not None
    return pl.concat(
        pl.read_parquet(store.root / part.name).drop("claim_start", "claim_until")
        for part in manifest.parts
    )


@pytest.mark.parametrize("each", [7, 10_000])
@pytest.mark.parametrize("block", [1, 900, 20_000])
@pytest.mark.parametrize("part", [1, 50_000, 10**9])
def test_the_rows_do_not_depend_on_blocks_parts_and_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, part: int, each: int
):
    monkeypatch.setattr(payload, "BLOCK_BYTES", block)
    monkeypatch.setattr(parts, "BLOCK_BYTES", block)
    monkeypatch.setattr(parts.Sizes, "of", lambda _: parts.Sizes(part=part, ahead=1))
    store = Directory(tmp_path)
    claims = [
        stored(store, wallet, members_of(lines_of(wallet), each), len(lines_of(wallet)))
        for wallet in WHALES
    ]
    found = combine(store, claims, 1).manifest
    expected = pl.concat(table_of(b"".join(lines_of(wallet))) for wallet in WHALES)
    made = table(store, found).sort("wallet_address", "timestamp", maintain_order=True)
    assert made.equals(expected)
    if part > 1:
        assert table(store, found).select("wallet_address").equals(made.select("wallet_address"))
    for part_of in found.parts if found else ():
        rows = pl.read_parquet(store.root / part_of.name)
        assert rows.equals(rows.sort("wallet_address", "timestamp", maintain_order=True))


def test_a_second_that_is_longer_than_a_block_is_numbered_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(payload, "BLOCK_BYTES", 2_000)
    monkeypatch.setattr(parts.Sizes, "of", lambda _: parts.Sizes(part=1, ahead=1))
    row = v2_row(WORLD.truth(WHALES[0])[0])
    lines = [
        msgspec.json.encode(row | {"timestamp": second, "size": float(size)}) + b"\n"
        for second in (30, 20, 10)
        for size in range(1, 100)
    ]
    store = Directory(tmp_path)
    made = combine(store, [stored(store, WHALES[0], members_of(lines, 40), len(lines))], 1)
    rows = table(store, made.manifest)
    for _, of_second in rows.group_by("timestamp"):
        assert sorted(of_second["sequence"]) == list(range(99))
        numbers = of_second["id"].str.split("-").list.last().cast(pl.Int64)
        assert sorted(numbers) == list(range(99))
    assert made.manifest is not None
    assert len(made.manifest.parts) == 3


def attempt(read: Callable[[], list[ServedRow]]) -> tuple[list[ServedRow] | None, str]:
    """What is read, or why it is refused."""
    try:
        return read(), ""
    except ContractBroken as error:
        return None, str(error)


@given(
    extras=st.lists(members(st.sampled_from(["title", "side", "x", "timestamp"])), max_size=6),
    block=st.integers(1, 4_000),
    each=st.integers(1, 4),
)
@example(extras=[['"x":' + "[" * 5000 + "]" * 5000], []], block=600, each=1)
@example(extras=[[], [r'"title":"\ud83d"'], []], block=600, each=2)
@example(extras=[[], ['"timestamp":1', '"timestamp":2'], []], block=1, each=2)
@settings(max_examples=200, deadline=None)
def test_a_block_is_read_as_the_whole_segment_is(extras: list[list[str]], block: int, each: int):
    lines = [raw(POLYMARKET, *extra) + b"\n" for extra in extras]
    whole, _ = attempt(lambda: SHAPES.of(POLYMARKET).rows(b"".join(lines)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payload, "BLOCK_BYTES", block)
        data = members_of(lines, each) or gzip.compress(b"")
        assert b"".join(unpack(data)) == b"".join(lines)
        every = Interval(-(2**63), 2**63)
        read, why = attempt(lambda: read_payload(data, WALLET, every, POLYMARKET).rows)
    assert read == whole or "newest first" in why


@pytest.mark.parametrize("shuffled", range(5))
def test_the_table_does_not_depend_on_the_order_of_wallets_and_seconds(shuffled: int):
    lines = [line for wallet in WHALES[::-1] for line in lines_of(wallet)]
    seconds: dict[object, list[bytes]] = {}
    for line in lines:
        row = ROW.decode(line)
        seconds.setdefault((row["proxy_wallet"], row["timestamp"]), []).append(line)
    mixed = list(seconds.values())
    random.Random(shuffled).shuffle(mixed)

    def made(text: bytes) -> pl.DataFrame:
        rows = SHAPES.of(POLYMARKET).rows(text)
        return table_rows(served_frame(POLYMARKET, columns_of(POLYMARKET, rows)))

    other = made(b"".join(line for second in mixed for line in second))
    assert other.equals(made(b"".join(lines)))


def test_rows_that_are_not_newest_first_are_refused_with_their_line(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(payload, "BLOCK_BYTES", 1_000)
    lines = lines_of(WHALES[0])
    swapped = [*lines[:50], lines[-1], *lines[50:-1]]
    with pytest.raises(ContractBroken, match="line 52: not newest first"):
        read_payload(members_of(swapped, 30), WHALES[0], EVER)


def test_a_broken_line_is_named_by_its_number_in_the_segment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(payload, "BLOCK_BYTES", 1_000)
    lines = lines_of(WHALES[0])
    lines[77] = b'{"no": "trade"}\n'
    with pytest.raises(ContractBroken, match="line 78: "):
        read_payload(members_of(lines, 30), WHALES[0], EVER)


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(payload, "LONGEST_LINE", 4 * payload.BLOCK_BYTES)
    bomb = gzip.compress(b" " * 40 * payload.BLOCK_BYTES)
    with pytest.raises(ContractBroken, match="a line of more than"):
        list(unpack(bomb))


@pytest.mark.parametrize("cut", [1, 9, 5_000])
def test_a_segment_whose_last_member_is_cut_is_refused(cut: int):
    data = members_of(lines_of(WHALES[0]), 100)
    with pytest.raises(ContractBroken, match="not a gzip file"):
        list(unpack(data[:-cut]))


def test_zeros_behind_a_member_are_padding_and_anything_else_is_not():
    data = gzip.compress(b"{}\n")
    assert list(unpack(data + bytes(9))) == [b"{}\n"]
    with pytest.raises(ContractBroken):
        list(unpack(data + b"junk"))


@pytest.mark.parametrize("rows", [399, 401])
def test_a_segment_with_other_rows_than_recorded_is_lost(tmp_path: Path, rows: int):
    store = Directory(tmp_path)
    wallet = WHALES[0]
    item = stored(store, wallet, members_of(lines_of(wallet), 50), rows + len(lines_of(wallet)))
    with pytest.raises(ObjectLost, match="its record says"):
        check_claim(Readings(store), item, store.feed)
    combined = combine(store, [item], 1)
    assert (combined.manifest, list(combined.lost)) == (None, [wallet])
    named = Segment(
        folder="trades/",
        wallet=wallet,
        start=EVER.start,
        until=EVER.until,
        rows=item.rows,
        size=item.size,
        crc32c=item.crc32c,
    )
    assert [name for name, _ in unreadable(Readings(store), [named], store.feed)] == [item.segment]


def test_the_source_is_known_from_the_first_block_of_an_older_segment(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(payload, "BLOCK_BYTES", 1_000)
    data = gzip.compress(b"".join(lines_of(WHALES[0])))
    reader = Reader(data, WHALES[0], EVER, SHAPES, None)
    assert sum(len(reader.rows(lines)) for lines in unpack(data)) == len(lines_of(WHALES[0]))
    assert reader.source == POLYMARKET


def test_an_error_while_reading_ahead_is_raised_after_the_items_before_it():
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise ObjectLost("name", "is gone")

    with read_ahead(items, 1) as ahead:
        assert [next(ahead), next(ahead)] == [1, 2]
        with pytest.raises(ObjectLost):
            next(ahead)
    assert not _reading()


def test_reading_ahead_is_bounded_and_ends_with_its_reader():
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10**9):
            made.append(number)
            yield number

    with read_ahead(items, 3) as ahead:
        assert [next(ahead) for _ in range(5)] == list(range(5))
    assert len(made) < 20
    assert not _reading()


def _reading() -> bool:
    return any(thread.name == "read-ahead" for thread in threading.enumerate())


def test_duckdb_gets_its_part_of_the_memory(tmp_path: Path):
    file = DuckDBFile(tmp_path / "w.duckdb", memory=1000)
    with file.connected(read_only=False) as db:
        limit = db.execute("SELECT current_setting('memory_limit')").fetchall()
    assert limit == [("250.0 MiB",)]


COMBINE = """
import sys
from pathlib import Path
import msgspec
from polycopy_assets.batches.combine import combine
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.batch import Claim
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

root = Path(sys.argv[1])
store = FeedStore(LocalStore(root), TRADES)
item = msgspec.json.decode((root / "claim.json").read_bytes(), type=Claim)
manifest = combine(store, [item], 1).manifest
loaded = DuckDBWarehouse(root / "w.duckdb").table(TRADES).load(manifest, store, "store")
assert loaded.inserted == item.rows
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(peak.split()[1])
"""


def _peak(root: Path, rows: int) -> float:
    """MB at most while a segment of `rows` trades is combined and loaded by a process."""
    row = v2_row(WORLD.truth(WHALES[0])[0])
    lines = [
        msgspec.json.encode(
            row | {"timestamp": 1_700_000_000 - number // 3, "transaction_hash": f"0x{number:064x}"}
        )
        + b"\n"
        for number in range(rows)
    ]
    store = Directory(root)
    item = stored(store, WHALES[0], members_of(lines, 20_000), rows)
    (root / "claim.json").write_bytes(msgspec.json.encode(item))
    said = subprocess.run(
        [sys.executable, "-c", COMBINE, str(root)], check=True, capture_output=True, text=True
    )
    return int(said.stdout) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says it by process")
def test_memory_does_not_grow_with_the_size_of_a_segment(tmp_path: Path):
    """One segment, read whole, took 3 KB for each trade.

    `ru_maxrss` would not do: a child starts with its parent's.
    """
    small, large = _peak(tmp_path / "small", 150_000), _peak(tmp_path / "large", 450_000)
    assert large < 512
    assert large - small < 120, (small, large)
