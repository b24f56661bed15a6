"""Half-open intervals of epoch seconds, and the operations that planning needs."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

BEGINNING = 0
"""Where every wallet's coverage starts, in epoch seconds."""

BEFORE_ALL_TRADES = 1_500_000_000
"""14 July 2017, in epoch seconds: Polymarket opened in 2020."""

_YEAR_10000 = 253_402_300_800


class Interval(NamedTuple):
    """`start <= timestamp < until`, in epoch seconds."""

    start: int
    until: int


def describe(span: Interval) -> str:
    """`before UNTIL`, or `from START until UNTIL`, times in UTC: for error messages."""
    until = _time(span.until)
    return f"from {_time(span.start)} until {until}" if span.start else f"before {until}"


def _time(second: int) -> str:
    """`2024-05-06T07:08:09Z`; the number itself if it is beyond the calendar."""
    if not 0 <= second < _YEAR_10000:
        return str(second)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same seconds as sorted, disjoint, non-touching intervals."""
    merged: list[Interval] = []
    for span in sorted(intervals):
        if merged and span.start <= merged[-1].until:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].until, span.until))
        else:
            merged.append(span)
    return merged


def subtract(whole: Interval, covered: Iterable[Interval]) -> list[Interval]:
    """The parts of `whole` that are not in `covered`, oldest first."""
    missing: list[Interval] = []
    start = whole.start
    for span in union(covered):
        if span.until <= start:
            continue
        if span.start >= whole.until:
            break
        if span.start > start:
            missing.append(Interval(start, span.start))
        start = span.until
    if start < whole.until:
        missing.append(Interval(start, whole.until))
    return missing


def leading(spans: Iterable[Interval]) -> int:
    """Until when `spans` cover everything from the beginning, before the first gap."""
    first = next(iter(union(spans)), None)
    return first.until if first and first.start == BEGINNING else BEGINNING


def disjoint(
    spans: Iterable[Interval], known: Iterable[Interval] = ()
) -> list[tuple[Interval, Interval]]:
    """(span, the part of it that counts) for the spans that add seconds, oldest first.

    Two runs on one wallet can cut it differently and both finish their segments: overlaps would
    then count twice. Spans that are also `known` take precedence. Otherwise the earlier and longer
    span wins. The result depends only on the set of spans.
    """
    every = set(spans)
    believed = every & set(known)
    covered = union(believed)
    useful = [span for span in every if span in believed or subtract(span, covered)]
    counted = _earliest_first(useful)
    if believed and not set(_earliest_first(believed)) <= set(counted):
        return _believed_first(useful, believed)
    return counted


def _earliest_first(spans: Iterable[Interval]) -> list[tuple[Interval, Interval]]:
    counted: list[tuple[Interval, Interval]] = []
    end = BEGINNING
    for span in sorted(spans, key=lambda s: (s.start, -s.until)):
        start = max(span.start, end)
        if start < span.until:
            counted.append((span, Interval(start, span.until)))
            end = span.until
    return counted


def _believed_first(
    spans: Iterable[Interval], believed: set[Interval]
) -> list[tuple[Interval, Interval]]:
    """The same; if several continue from one second, the trusted ones are taken first."""
    left = sorted(spans, key=lambda s: (s not in believed, s.start, -s.until))
    counted: list[tuple[Interval, Interval]] = []
    end = BEGINNING
    while left := [span for span in left if span.until > end]:
        here = [span for span in left if span.start <= end] or [
            min(left, key=lambda s: (s.start, s not in believed, -s.until))
        ]
        counted.append((here[0], Interval(max(here[0].start, end), here[0].until)))
        end = here[0].until
    return counted
