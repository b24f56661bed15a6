"""Intervals against the plainest model there is: sets of seconds."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from polycopy_assets.trades.interval import Interval, disjoint, subtract, union

spans = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 15)).map(lambda p: Interval(p[0], p[0] + p[1])),
    max_size=8,
)
wholes = st.tuples(st.integers(0, 20), st.integers(0, 40)).map(
    lambda p: Interval(p[0], p[0] + p[1])
)


def seconds(intervals: list[Interval]) -> set[int]:
    return {s for span in intervals for s in range(span.start, span.until)}


@given(spans)
def test_a_union_is_the_same_seconds_sorted_and_apart(intervals: list[Interval]):
    merged = union(intervals)
    assert seconds(merged) == seconds(intervals)
    assert all(a.until < b.start for a, b in pairwise(merged))


@given(wholes, spans)
def test_what_is_missing_is_what_nobody_covers(whole: Interval, covered: list[Interval]):
    missing = subtract(whole, covered)
    assert seconds(missing) == seconds([whole]) - seconds(covered)
    assert missing == union(missing)


@given(spans)
def test_every_second_counts_for_exactly_one_span(intervals: list[Interval]):
    counted = disjoint(intervals)
    claims = [claim for _, claim in counted]
    assert seconds(claims) == seconds(intervals)
    assert sum(c.until - c.start for c in claims) == len(seconds(claims))
    assert all(s.start <= c.start and c.until == s.until for s, c in counted)
    assert disjoint(reversed(intervals)) == counted
