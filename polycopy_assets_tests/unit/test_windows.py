"""A query above the cap is cut into few, whose windows leave nothing out and do not overlap."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest

from polycopy_assets.warehouse.bigquery.windows import BEGINNING, END, Window, cut

STEP = timedelta(microseconds=1)


def estimates(rows: dict[tuple[int, int], int], asked: list[Window]):
    """What BigQuery says: all bytes of the months that a window touches."""

    def estimate(window: Window) -> int:
        asked.append(window)
        low, high = ((moment.year, moment.month) for moment in (window.low, window.high))
        return sum(size for month, size in rows.items() if low <= month <= high)

    return estimate


@pytest.mark.parametrize("seed", range(20))
def test_windows_leave_nothing_out_and_each_is_within_the_cap(seed: int):
    random = Random(seed)
    months = [(year, month) for year in range(2019, 2027) for month in range(1, 13)]
    rows = {month: random.randrange(60) for month in months}
    rows |= {(1970, 1): random.randrange(50), (2100, 5): random.randrange(50)}
    asked: list[Window] = []
    found = cut(BEGINNING, END, estimates(rows, asked), 100)
    assert (found[0].low, found[-1].high) == (BEGINNING, END)
    for before, after in pairwise(found):
        assert after.low == before.high + STEP
        assert (after.low.day, after.low.time()) == (1, datetime.min.time())
        assert before.size + after.size > 100, "they could have been one"
    assert all(window.size <= 100 for window in found)
    assert sum(window.size for window in found) == sum(rows.values())
    assert len(asked) < 150


def test_a_span_within_the_cap_is_one_window_after_one_estimate():
    asked: list[Window] = []
    low, high = datetime(2024, 2, 3, 4, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    assert cut(low, high, estimates({(2025, 1): 100}, asked), 100) == [Window(low, high, 100)]
    assert len(asked) == 1


def test_a_month_above_the_cap_is_a_window_of_its_own():
    rows = {(2025, 1): 10, (2025, 2): 500, (2025, 3): 10}
    low, high = datetime(2025, 1, 31, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)
    found = cut(low, high, estimates(rows, []), 100)
    assert [window.size for window in found] == [10, 500, 10]
    assert found[1] == Window(datetime(2025, 2, 1, tzinfo=UTC), high - STEP, 500)
