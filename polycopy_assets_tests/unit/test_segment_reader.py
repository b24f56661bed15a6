"""A stored segment is read in blocks: where one ends does not matter, and memory is bounded."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from polycopy_assets.demo.world import v2_row
from polycopy_assets.errors import ObjectLost
from polycopy_assets.fetch.segment_reader import read_segment
from polycopy_assets.store.base import crc32c
from polycopy_assets.trades import payload
from polycopy_assets.trades.digest import as_text, of_second, total
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.shapes import POLYMARKET
from polycopy_assets_tests.of_trades import Directory, segment_name
from polycopy_assets_tests.unit.test_streaming import EVER, WHALES, WORLD, members_of

WALLET = WHALES[0]
NEWEST = 1_700_000_000
IN_A_SECOND = 5


def served(rows: int) -> list[bytes]:
    """Rows of a wallet, newest first, five in each second."""
    row = v2_row(WORLD.truth(WALLET)[0])
    return [
        msgspec.json.encode(row | {"timestamp": NEWEST - n // IN_A_SECOND, "size": float(n + 1)})
        + b"\n"
        for n in range(rows)
    ]


def stored(root: Path, data: bytes) -> Directory:
    store = Directory(root)
    store.create(segment_name(WALLET, EVER), data)
    return store


def expected(lines: list[bytes], data: bytes, claim: Interval) -> Segment:
    """What a record says about the rows inside `claim`."""
    seconds: dict[int, bytes] = {}
    for number, line in enumerate(lines):
        second = NEWEST - number // IN_A_SECOND
        if claim.start <= second < claim.until:
            seconds[second] = seconds.get(second, b"") + line
    return Segment.of_claim(
        WALLET,
        EVER,
        claim,
        folder="trades/",
        rows=sum(each.count(b"\n") for each in seconds.values()),
        size=len(data),
        crc32c=crc32c(data),
        first=min(seconds, default=None),
        last=max(seconds, default=None),
        source=POLYMARKET,
        digest=as_text(total(map(of_second, seconds.values()))) if seconds else None,
    )


@pytest.mark.parametrize("block", [1, 900, 2_000, 10**6])
@pytest.mark.parametrize(
    "claim", [EVER, Interval(NEWEST - 40, NEWEST - 3), Interval(NEWEST + 1, NEWEST + 9)]
)
def test_a_segment_is_described_the_same_whatever_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, claim: Interval
):
    monkeypatch.setattr(payload, "BLOCK_BYTES", block)
    lines = served(400)
    data = members_of(lines, 70)
    found = read_segment(stored(tmp_path, data), WALLET, EVER, claim)
    assert found == expected(lines, data, claim)


def test_a_segment_without_rows_has_no_digest(tmp_path: Path):
    found = read_segment(stored(tmp_path, members_of([b""], 1)), WALLET, EVER, EVER)
    assert (found.rows, found.first, found.last, found.digest) == (0, None, None, None)
    assert found.source == POLYMARKET


def test_a_large_segment_is_never_in_memory_as_a_whole(tmp_path: Path):
    lines = served(40_000)
    data = members_of(lines, 5_000)
    unpacked = sum(map(len, lines))
    store = stored(tmp_path, data)
    tracemalloc.start()
    try:
        found = read_segment(store, WALLET, EVER, EVER)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.rows == len(lines)
    assert unpacked > 25 * payload.BLOCK_BYTES
    assert peak < len(data) + 10 * payload.BLOCK_BYTES, (peak, unpacked)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda lines: members_of(lines, 70)[:-9], "is damaged: not a gzip file"),
        (lambda lines: members_of([*lines[:300], b"{}\n"], 70), "is damaged: line 301: "),
        (lambda lines: members_of([*lines[9:], lines[0]], 70), "is damaged: line 392: not newest"),
        (lambda _: b"", "is damaged: it has 0 bytes"),
    ],
    ids=["cut", "no row", "order", "empty"],
)
def test_damage_in_a_later_block_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[list[bytes]], bytes],
    reason: str,
):
    monkeypatch.setattr(payload, "BLOCK_BYTES", 1_000)
    store = stored(tmp_path, damage(served(400)))
    with pytest.raises(ObjectLost, match=reason):
        read_segment(store, WALLET, EVER, EVER)
