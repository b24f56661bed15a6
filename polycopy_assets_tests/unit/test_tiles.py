"""What is new does not depend on how the same trades are cut into segments, batches and tiles."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from polycopy_assets.batches.plan import InRecord, pending
from polycopy_assets.trades.batch import Claim, Manifest, claim
from polycopy_assets.trades.digest import as_text, of_second, total
from polycopy_assets.trades.holdings import MOST_TILES
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import Segment, data_version
from polycopy_assets.trades.tiles import Tile, joined, lacked, placed
from polycopy_assets_tests.of_trades import SCHEMA, holdings, new_claims

WALLET = "0x" + "a" * 40
END = 400

Rows = dict[int, bytes]
"""The trades of each second that has any."""

trades: st.SearchStrategy[Rows] = st.dictionaries(
    st.integers(0, END - 1), st.binary(min_size=1, max_size=3), max_size=40
)
cuts = st.sets(st.integers(1, END - 1), max_size=12)


def digest_of_rows(rows: Rows) -> int:
    """A row says when it was, so equal ones of two seconds have different digests."""
    return total(of_second(b"%d %s" % item) for item in rows.items())


def segment(rows: Rows, start: int, until: int, *, old: bool = False) -> Segment:
    """The segment of these trades; an older version did not hash them."""
    inside = sorted(second for second in rows if start <= second < until)
    digest = as_text(digest_of_rows({each: rows[each] for each in inside})) if inside else None
    return Segment(
        folder="trades/",
        wallet=WALLET,
        start=start,
        until=until,
        rows=len(inside),
        size=20 + len(inside),
        crc32c="00000000",
        first=None if old or not inside else inside[0],
        last=None if old or not inside else inside[-1],
        digest=None if old else digest,
    )


def segments(rows: Rows, at: Sequence[int], until: int = END, *, old: bool = False):
    """The same trades in segments that are cut at `at`."""
    bounds = [0, *sorted(each for each in at if 0 < each < until), until]
    return [segment(rows, a, b, old=old) for a, b in pairwise(bounds)]


def record(found: Sequence[Segment], until: int = END) -> InRecord:
    return InRecord(WALLET, data_version(found), found, until)


def manifest(number: int, claims: Sequence[Claim]) -> Manifest:
    return Manifest(batch=number, rows=0, parts=[], claims=list(claims), schema=SCHEMA)


class Table:
    """The batches and the table that they make: every batch replaces what it claims."""

    def __init__(self) -> None:
        self.held = holdings()
        self.rows: Rows = {}
        self.number = 0

    def take(self, claims: Sequence[Claim], truth: Rows) -> None:
        """One batch with these claims."""
        self.number += 1
        for item in claims:
            span = range(item.start, item.until)
            self.rows = {s: row for s, row in self.rows.items() if s not in span}
            self.rows |= {s: row for s, row in truth.items() if s in span}
        self.held.add(manifest(self.number, claims))

    def combine(self, found: InRecord, truth: Rows) -> list[Claim]:
        """One batch of what is new."""
        claims = new_claims([found], self.held) if self.pending(found) else []
        if claims:
            self.take(claims, truth)
        return claims

    def pending(self, found: InRecord) -> bool:
        return bool(pending({WALLET: found.version}, self.held))


@given(trades, cuts, cuts, st.sampled_from((1, 2)))
def test_the_same_trades_cut_in_another_way_are_not_new(
    rows: Rows, one: set[int], other: set[int], batches: int
):
    table = Table()
    first = [claim(item, "v") for item in segments(rows, sorted(one))]
    half = len(first) // batches
    for part in (first[:half], first[half:]):
        table.take(part, rows)
    again = record(segments(rows, sorted(other)))
    assert not table.pending(again)
    assert not any(lacked(again.segments, END, table.held.get(WALLET).tiles))


many_trades = st.dictionaries(st.integers(0, END - 1), st.just(b"a"), min_size=60)
many_cuts = st.sets(st.integers(1, END - 1), min_size=MOST_TILES, max_size=90)


@given(many_trades, st.lists(many_cuts, min_size=2, max_size=4), st.data())
def test_one_batch_is_enough_however_many_segments_replace_others(
    rows: Rows, every: list[set[int]], data: st.DataObject
):
    table = Table()
    for at in every:
        rows = {
            **rows,
            data.draw(st.integers(0, END - 1)): data.draw(st.sampled_from([b"b", b"c"])),
        }
        again = record(segments(rows, sorted(at)))
        table.combine(again, rows)
        assert not table.pending(again)
        assert len(table.held.get(WALLET).tiles) <= MOST_TILES
        assert table.rows == rows


@given(trades.filter(bool), cuts, cuts, st.data())
def test_one_changed_trade_is_found_and_what_is_claimed_for_it_mends_the_table(
    rows: Rows, one: set[int], other: set[int], data: st.DataObject
):
    table = Table()
    table.combine(record(segments(rows, sorted(one))), rows)
    second = data.draw(st.sampled_from(sorted(rows)))
    change = data.draw(st.sampled_from(("other", "gone", "more")))
    now = dict(rows)
    if change == "gone":
        del now[second]
    else:
        now[second] = b"changed" if change == "other" else now[second] + b"+"
    found = record(segments(now, sorted(other)))
    assert table.pending(found)
    claims = table.combine(found, now)
    assert any(item.start <= second < item.until for item in claims)
    assert table.rows == now
    assert not table.pending(found)


@example([({0: b"a"}, set(), 1), ({1: b"a"}, set(), 2)])
@given(st.lists(st.tuples(trades, cuts, st.integers(1, END)), min_size=1, max_size=8))
def test_whatever_is_recorded_one_combine_makes_the_table_equal_to_it(
    history: list[tuple[Rows, set[int], int]],
):
    """Trades appear and disappear, coverage grows, with segments without trades or without any.

    Coverage that shrinks and grows again without a trade has one data version: a surplus that the
    batches hold beyond it is found by counting the table, in a reconciliation.
    """
    table = Table()
    until = 0
    for rows, at, later in history:
        until = max(until, later)
        truth = {second: row for second, row in rows.items() if second < until}
        named = [item for item in segments(truth, sorted(at), until) if item.rows or at]
        found = record(named, until)
        table.combine(found, truth)
        inside = {second: row for second, row in table.rows.items() if second < until}
        assert inside == truth
        assert not table.pending(found)


@given(trades, cuts, st.integers(1, END), cuts)
def test_growing_by_a_segment_claims_that_segment_alone(
    rows: Rows, at: set[int], until: int, later: set[int]
):
    table = Table()
    before = segments(rows, sorted(at), until)
    table.combine(record(before, until), rows)
    after = [*before, *(segment(rows, a, b) for a, b in _pairs(until, later))]
    claims = table.combine(record(after), rows)
    expected = [item.name for item in after[len(before) :] if item.rows]
    assert [item.segment for item in claims if item.rows] == expected


def _pairs(start: int, at: set[int]) -> list[tuple[int, int]]:
    bounds = [start, *sorted(each for each in at if each > start), END]
    return [(a, b) for a, b in pairwise(bounds) if a < b]


@given(trades, cuts)
def test_a_record_of_an_older_version_is_held_though_its_segments_have_no_digests(
    rows: Rows, at: set[int]
):
    """Its version was made from names; the same segments recorded today have another one."""
    old = segments(rows, sorted(at), old=True)
    named = f"rows-{len(rows)}-0123456789abcdef"
    held = holdings()
    if rows:
        held.add(manifest(1, [claim(item, named) for item in old]))
    assert pending({WALLET: f"rows-{len(rows)}-0123456789abcdef"}, held) == []
    assert pending({WALLET: data_version(old)}, held) == []
    assert not any(lacked(old, END, held.get(WALLET).tiles))


def test_a_wallet_that_continues_in_the_next_batch_is_pending_until_then():
    rows = dict.fromkeys(range(0, 40, 2), b"x")
    one, other = segments(rows, [20], 40, old=True)
    version = "rows-20-0123456789abcdef"
    held = holdings([manifest(1, [claim(one, "")])])
    assert pending({WALLET: version}, held) == [WALLET]
    held.add(manifest(2, [claim(other, version)]))
    assert pending({WALLET: version}, held) == []
    # Without the first batch, the version alone does not count.
    assert pending({WALLET: version}, holdings([manifest(2, [claim(other, version)])]))


def test_a_wallet_without_trades_is_never_pending_unless_the_batches_hold_some():
    for version in ("rows-0-e3b0c44298fc1c14", data_version([])):
        assert pending({WALLET: version}, holdings()) == []
        held = holdings([manifest(1, [claim(segment({5: b"x"}, 0, 9), "v")])])
        assert pending({WALLET: version}, held) == [WALLET]


@given(trades, st.lists(cuts, max_size=6))
def test_a_wallet_has_a_bounded_number_of_tiles_that_add_up(rows: Rows, history: list[set[int]]):
    held = holdings()
    for number in range(1, 60):
        start, until = (number - 1) * 6, number * 6
        held.add(manifest(number, [claim(segment(rows, start, until), "v")]))
    for number, at in enumerate(history, 60):
        new = segments(rows, sorted(at))
        held.add(manifest(number, [claim(item, "v") for item in new]))
    found = held.get(WALLET)
    assert len(found.tiles) <= MOST_TILES
    last = 59 * 6 if not history else END
    inside = {second: row for second, row in rows.items() if second < last}
    assert (found.rows, found.digest) == (
        len(inside),
        digest_of_rows(inside),
    )


def test_what_is_left_of_a_tile_that_was_replaced_in_part_is_uncertain_and_combined_again():
    tile = Tile(0, 20, 10, 7, batch=1)
    left = placed([tile], Interval(5, 10), Tile(6, 8, 2, 9, batch=2))
    assert left == [Tile(0, 5, 0, None, 1), Tile(6, 8, 2, 9, 2), Tile(10, 20, 0, None, 1)]
    assert joined(left, 1) == [Tile(0, 20, 0, None, 1)]
    named = [segment({2: b"x"}, 0, 5), segment({}, 5, 20)]
    assert [item.span for item in lacked(named, 20, left).segments] == [(0, 5), (5, 20)]


def test_a_union_of_segments_is_invisible_and_so_is_emptiness_before_it():
    rows = {10: b"a", 30: b"b", 31: b"c"}
    table = Table()
    table.combine(record(segments(rows, [20, 25], 32), 32), rows)
    union = [segment(rows, 0, 32)]
    assert not table.pending(record(union, 60))
    grown = record([*union, segment({55: b"d"}, 40, 60)], 60)
    (new,) = table.combine(grown, {55: b"d"})
    assert (new.start, new.until) == (40, 60)


def test_claims_of_emptiness_are_claims_that_a_manifest_may_have():
    table = Table()
    rows = {10: b"a", 30: b"b"}
    table.combine(record(segments(rows, [20])), rows)
    found = record([segment(rows, 0, 20)])
    (gone,) = table.combine(found, {10: b"a"})
    assert (gone.start, gone.until, gone.rows, gone.size) == (20, END, 0, 0)
    assert msgspec.json.decode(msgspec.json.encode(gone), type=Claim) == gone
    assert table.rows == {10: b"a"}
