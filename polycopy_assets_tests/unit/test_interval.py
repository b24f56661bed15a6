"""Intervals against the plainest model there is: sets of seconds."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycopy_assets.trades.interval import Interval, describe, disjoint, subtract, union

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


@given(spans, st.sets(st.integers(0, 7)))
def test_every_second_counts_for_exactly_one_span(intervals: list[Interval], picks: set[int]):
    known = [span for number, span in enumerate(intervals) if number in picks]
    counted = disjoint(intervals, known)
    claims = [claim for _, claim in counted]
    assert seconds(claims) == seconds(intervals)
    assert sum(c.until - c.start for c in claims) == len(seconds(claims))
    assert all(s.start <= c.start and c.until == s.until for s, c in counted)
    assert disjoint(reversed(intervals), known) == counted


def test_a_stranger_counts_only_for_what_the_known_spans_lack():
    known = [Interval(0, 10), Interval(10, 20)]
    inside, over = Interval(0, 20), Interval(5, 30)
    assert disjoint([*known, inside], known) == [(known[0], known[0]), (known[1], known[1])]
    assert disjoint([*known, over], known) == [
        (known[0], known[0]),
        (known[1], known[1]),
        (over, Interval(20, 30)),
    ]
    gone = disjoint([known[0], inside], known)
    assert gone == [(known[0], known[0]), (inside, Interval(10, 20))]
    assert disjoint([Interval(3, 6), Interval(0, 5), Interval(8, 9)], [Interval(8, 9)]) == [
        (Interval(0, 5), Interval(0, 5)),
        (Interval(3, 6), Interval(5, 6)),
        (Interval(8, 9), Interval(8, 9)),
    ]


A, B, C = Interval(0, 10), Interval(0, 20), Interval(0, 30)


@pytest.mark.parametrize(
    ("given_spans", "known", "counted"),
    [
        # Of spans that start together the longest counts, and the others add nothing.
        ([A, B, C], [], [(C, C)]),
        ([C, A], [], [(C, C)]),
        # The known one goes first, and the longer one counts for the rest.
        ([A, B], [A], [(A, A), (B, Interval(10, 20))]),
        ([A, B, C], [A], [(A, A), (C, Interval(10, 30))]),
        ([A, B, C], [A, B], [(B, B), (C, Interval(20, 30))]),
        ([A, B, C], [C], [(C, C)]),
        # A span that is known and not there counts for nothing.
        ([B], [A, C], [(B, B)]),
        # The same span twice is one.
        ([A, A], [A, A], [(A, A)]),
        # Spans that end together: the earlier one counts.
        ([Interval(5, 20), B], [], [(B, B)]),
        ([Interval(5, 20), B], [Interval(5, 20)], [(B, B)]),
    ],
)
def test_spans_that_start_or_end_together_are_told_apart_the_same_way_each_time(
    given_spans: list[Interval],
    known: list[Interval],
    counted: list[tuple[Interval, Interval]],
):
    assert disjoint(given_spans, known) == counted
    assert disjoint(given_spans[::-1], known[::-1]) == counted


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (Interval(0, 1_714_979_289), "before 2024-05-06T07:08:09Z"),
        (
            Interval(1_714_979_289, 1_714_979_290),
            "from 2024-05-06T07:08:09Z until 2024-05-06T07:08:10Z",
        ),
        (Interval(0, 10**15), "before 1000000000000000"),
    ],
)
def test_people_read_an_interval_as_times(span: Interval, said: str):
    assert describe(span) == said
