"""Which segments are united, over years; and what a union holds."""

import gzip
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import log2
from pathlib import Path

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import v2_row
from polycopy_assets.errors import ContractBroken, ObjectExists, ObjectLost
from polycopy_assets.fetch import compaction
from polycopy_assets.fetch.compaction import compacted, unite
from polycopy_assets.fetch.segment_reader import read_segment
from polycopy_assets.store.base import crc32c
from polycopy_assets.trades.compaction import MOST, UNION_BYTES, WINDOW, unions
from polycopy_assets.trades.cutter import SEGMENT_BYTES, Cutter, Draft
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets.trades.page import Row
from polycopy_assets.trades.segment import Segment, data_version
from polycopy_assets.trades.shapes import CHECKPOINT, DOME, POLYMARKET
from polycopy_assets_tests.of_trades import Directory, left_over, segment_name

WALLET = "0x" + "a" * 40
DAY = 86_400
ROW_BYTES = 120


def segment(start: int, until: int, rows: int, **fields: object) -> Segment:
    described = Segment(
        folder="trades/",
        wallet=WALLET,
        start=start,
        until=until,
        rows=rows,
        size=80 + rows * ROW_BYTES,
        crc32c="00000000",
        source=POLYMARKET,
        digest=f"{rows:016x}" if rows else None,
    )
    return msgspec.structs.replace(described, **fields)


def as_planned(segments: Sequence[Segment]) -> tuple[list[Segment], int]:
    """The segments after the unions that are planned, and how many rows those rewrite."""
    left = list(segments)
    rewritten = 0
    for pieces in unions(segments):
        rows = sum(piece.rows for piece in pieces)
        size = sum(piece.size for piece in pieces)
        assert size <= UNION_BYTES
        union = segment(pieces[0].start, pieces[-1].until, rows, size=size)
        at = left.index(pieces[0])
        assert tuple(left[at : at + len(pieces)]) == pieces, "not neighbours"
        left[at : at + len(pieces)] = [union]
        rewritten += rows
    return left, rewritten


def lived(days: int, news: Callable[[int], int]) -> tuple[list[Segment], float, int]:
    """A wallet after so many daily refreshes: its segments, rewrites a row, refreshes with any."""
    segments: list[Segment] = []
    rewritten = total = busy = 0
    for day in range(days):
        rows = news(day)
        segments, again = as_planned([*segments, segment(day * DAY, (day + 1) * DAY, rows)])
        assert len(segments) <= MOST
        rewritten, total, busy = rewritten + again, total + rows, busy + bool(again)
    assert sum(each.rows for each in segments) == total
    return segments, rewritten / total, busy


def test_a_wallet_with_few_segments_is_left_alone():
    assert unions([segment(day * DAY, (day + 1) * DAY, 5) for day in range(MOST)]) == []


def test_after_ten_years_of_daily_news_a_wallet_has_few_segments_and_each_row_moved_four_times():
    segments, rewrites, busy = lived(3_650, lambda day: 5)
    assert len(segments) <= MOST
    assert rewrites <= 4, "log8(3650) is 3.9"
    assert busy <= 3_650 / 6, "most refreshes rewrite nothing"


@pytest.mark.parametrize(
    "news",
    [
        lambda day: 1_000 if day % 2 else 1,
        lambda day: 50_000 if day % 100 == 0 else 1,
        lambda day: 0 if day % 4 else 3,
        lambda day: day + 1,
        lambda day: 2_000 - day,
    ],
    ids=["large and small in turn", "rarely large", "mostly none", "growing", "shrinking"],
)
def test_uneven_news_is_not_rewritten_more_often(news: Callable[[int], int]):
    _, rewrites, _ = lived(1_500, news)
    assert rewrites <= 5


@given(st.lists(st.integers(1, 5_000), min_size=200, max_size=400))
def test_whatever_the_news_there_are_few_segments_and_few_rewrites(news: list[int]):
    _, rewrites, _ = lived(len(news), news.__getitem__)
    assert rewrites <= log2(sum(max(rows, 1) for rows in news))


def test_a_large_segment_is_not_rewritten_for_each_few_new_rows():
    segments = [segment(0, DAY, 400_000, size=SEGMENT_BYTES)]
    large = 0
    for day in range(1, 1_000):
        new = [*segments, segment(day * DAY, (day + 1) * DAY, 2)]
        large += any(piece.rows >= 400_000 for pieces in unions(new) for piece in pieces)
        segments, _ = as_planned(new)
    assert large == 0
    assert len(segments) <= MOST


@pytest.mark.parametrize(("full", "fewest"), [(70, 14), (700, 88)])
def test_a_whale_has_as_few_segments_as_their_size_allows(full: int, fewest: int):
    segments = [segment(n * DAY, (n + 1) * DAY, 70_000, size=SEGMENT_BYTES) for n in range(full)]
    left, rewritten = as_planned(segments)
    assert len(left) == fewest
    assert rewritten <= sum(each.rows for each in segments), "each row once"
    assert unions(left) == []


def test_years_of_small_segments_are_united_at_once_and_each_row_is_rewritten_once():
    segments = [segment(day * DAY, (day + 1) * DAY, 5) for day in range(3_650)]
    left, rewritten = as_planned(segments)
    assert len(left) <= MOST
    assert rewritten <= sum(each.rows for each in segments)


def test_what_is_united_touches_counts_in_full_and_has_one_source():
    every = [segment(day * DAY, (day + 1) * DAY, 5) for day in range(40)]
    odd = {
        "a gap": msgspec.structs.replace(every[20], start=20 * DAY + 1),
        "an overlap": msgspec.structs.replace(every[20], claim_start=20 * DAY + 1),
        "another source": msgspec.structs.replace(every[20], source=DOME),
        "an unknown source": msgspec.structs.replace(every[20], source=None),
        "the old job's": msgspec.structs.replace(every[20], source=CHECKPOINT),
    }
    for what, other in odd.items():
        planned = unions([*every[:20], other, *every[21:]])
        assert planned, what
        for pieces in planned:
            if what == "a gap":
                assert not {every[19], other} <= set(pieces)
            else:
                assert other not in pieces, what
            assert len({piece.source for piece in pieces}) == 1
    assert unions([msgspec.structs.replace(each, source=CHECKPOINT) for each in every]) == []


def test_a_segment_without_rows_joins_neighbours_of_any_source():
    every = [segment(day * DAY, (day + 1) * DAY, 5 * (day % 2)) for day in range(40)]
    empty = [each if each.rows else msgspec.structs.replace(each, source=DOME) for each in every]
    left, _ = as_planned(empty)
    assert len(left) <= MOST


# -- unions in a store -----------------------------------------------------------------------------

WORLD = generate(75, 1, whales=1, whale_trades=200)
TRADES = sorted(WORLD.truth(WORLD.wallets()[0]), key=lambda trade: -trade.timestamp)
OWNER = WORLD.wallets()[0].lower()
END = 2_000_000_000


def drafts(segment_bytes: int) -> list[Draft]:
    """All trades of one wallet, cut small, oldest first."""
    cutter = Cutter(END, POLYMARKET, segment_bytes)
    cut = [
        cutter.add(Row(OWNER, trade.timestamp, trade.tx_hash, msgspec.json.encode(v2_row(trade))))
        for trade in TRADES
    ]
    return [*(each for each in cut if each), cutter.finish(BEGINNING)][::-1]


@pytest.fixture
def store(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "store")


@pytest.fixture
def pieces(store: Directory) -> list[Segment]:
    """The wallet's segments, stored and described, oldest first."""
    stored: list[Segment] = []
    for draft in drafts(1):
        store.create(segment_name(OWNER, draft.span), draft.payload)
        stored.append(
            Segment.of_draft(OWNER, draft, POLYMARKET, crc32c(draft.payload), folder="trades/")
        )
    assert len(stored) > 3 * WINDOW
    return stored


@pytest.fixture(params=["packed", "copied"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether unions are packed again, or copied as large ones are."""
    if request.param == "copied":
        monkeypatch.setattr(compaction, "PACKED_BYTES", 0)
    return request.param


def lines(store: Directory, name: str) -> list[bytes]:
    return gzip.decompress(store.read(name)).splitlines()


def names(store: Directory) -> set[str]:
    return {item.name for item in store.list("trades/")}


def compact(store: Directory, segments: Sequence[Segment]) -> tuple[Segment, ...]:
    return anyio.run(compacted, store, segments, _NoLock())


class _NoLock(nullcontext[None]):
    """Nothing else is united meanwhile."""


def test_a_union_is_what_one_fetch_would_have_written(
    store: Directory,
    pieces: list[Segment],
    way: str,
):
    union = unite(store, pieces)
    (whole,) = drafts(SEGMENT_BYTES)
    assert lines(store, union.name) == gzip.decompress(whole.payload).splitlines()
    assert data_version([union]) == data_version(pieces)
    span = Interval(BEGINNING, END)
    assert union == read_segment(store, OWNER, span, span), "what a lost record would say again"
    assert (union.first, union.last) == (whole.first, whole.last)
    if way == "packed":
        assert store.read(union.name) == whole.payload


@pytest.mark.usefixtures("way")
def test_pieces_that_were_never_hashed_keep_their_share_of_the_data_version(
    store: Directory,
    pieces: list[Segment],
):
    old = [msgspec.structs.replace(each, digest=None, source=None) for each in pieces[:9]]
    every = [*old, *pieces[9:]]
    with_union = [unite(store, old), *pieces[9:]]
    assert data_version(with_union) == data_version(every) != data_version(pieces)
    assert with_union[0].source == POLYMARKET, "from the header"


def test_an_unknown_source_is_guessed_where_no_header_names_it(store: Directory):
    stored = []
    for draft in drafts(1)[:8]:
        payload = gzip.compress(gzip.decompress(draft.payload))
        name = segment_name(OWNER, draft.span)
        store.create(name, payload)
        described = Segment.of_draft(OWNER, draft, POLYMARKET, crc32c(payload), folder="trades/")
        stored.append(
            msgspec.structs.replace(described, size=len(payload), source=None, digest=None)
        )
    assert unite(store, stored).source == POLYMARKET


def test_many_segments_become_few_with_the_same_rows(store: Directory, pieces: list[Segment]):
    before = Counter(line for piece in pieces for line in lines(store, piece.name))
    left = compact(store, pieces)
    assert len(left) <= MOST < len(pieces)
    assert Counter(line for each in left for line in lines(store, each.name)) == before
    assert data_version(left) == data_version(pieces)
    assert names(store) >= {each.name for each in (*pieces, *left)}, "nothing is removed yet"
    assert left_over(names(store), left) == names(store) - {each.name for each in left}
    assert compact(store, left) == left


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("damage", ["gone", "cut", "changed"])
def test_a_piece_that_is_not_as_recorded_is_not_united_and_the_rest_is(
    store: Directory,
    pieces: list[Segment],
    damage: str,
    caplog: pytest.LogCaptureFixture,
):
    first = unions(pieces)[0]
    damaged = store.root / first[2].name
    data = damaged.read_bytes()
    damaged.unlink()
    if damage != "gone":
        damaged.write_bytes(data[:-1] if damage == "cut" else data[:-1] + b"?")
    with pytest.raises(ObjectLost, match=first[2].name):
        unite(store, first)
    before = names(store)
    with caplog.at_level(logging.WARNING):
        left = compact(store, pieces)
    assert f"{len(first)} segments were not united" in caplog.text
    assert set(first) <= set(left)
    assert segment_name(OWNER, Interval(first[0].start, first[-1].until)) not in names(store)
    assert len(left) < len(pieces), "the others are"
    assert before < names(store)


def test_rows_without_their_last_line_break_are_not_joined_to_the_next(
    store: Directory, pieces: list[Segment]
):
    piece = pieces[5]
    payload = gzip.compress(gzip.decompress(store.read(piece.name)).removesuffix(b"\n"))
    (store.root / piece.name).write_bytes(payload)
    old = msgspec.structs.replace(piece, size=len(payload), crc32c=crc32c(payload), digest=None)
    with pytest.raises(ObjectLost, match=r"lines?, its record says"):
        unite(store, [*pieces[3:5], old, *pieces[6:8]])


def test_pieces_of_different_sources_are_never_one(store: Directory, pieces: list[Segment]):
    other = msgspec.structs.replace(pieces[2], source=DOME)
    with pytest.raises(ContractBroken, match="dome, polymarket"):
        unite(store, [pieces[1], other])


def test_a_union_whose_name_has_other_bytes_is_left_to_be_removed(
    store: Directory, pieces: list[Segment]
):
    first = unions(pieces)[0]
    name = segment_name(OWNER, Interval(first[0].start, first[-1].until))
    store.create(name, b"of another version of gzip")
    with pytest.raises(ObjectExists):
        unite(store, first)
    left = compact(store, pieces)
    assert set(first) <= set(left)
    assert name in left_over(names(store), left)


def test_the_same_union_again_is_no_error(store: Directory, pieces: list[Segment]):
    assert compact(store, pieces) == compact(store, pieces)


def test_only_what_is_covered_in_full_is_left_over():
    counted = [segment(0, 10, 1), segment(10, 20, 1)]
    stored = [
        segment_name(WALLET, Interval(*span)) for span in [(0, 10), (0, 5), (5, 15), (15, 21)]
    ]
    foreign = f"trades/{WALLET}/refetch.json"
    assert left_over([*stored, foreign], counted) == {stored[1], stored[2]}
