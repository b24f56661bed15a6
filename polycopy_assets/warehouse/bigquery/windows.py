"""Statements that would bill more than the cap, as several that each read some months of a table.

BigQuery compares its estimate of a query with the cap before it starts. Only bounds on the column
of the partitions lower that estimate: clustering lowers only what is billed.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from google.cloud import bigquery
from google.cloud.bigquery import ScalarQueryParameter

from polycopy_assets.warehouse.bigquery.feed_dataset import FeedDataset
from polycopy_assets.warehouse.bigquery.job_calls import Parameter

BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
END = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

_CUT_FIRST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
"""Nearly all rows lie between, so that few estimates are needed."""

_STEP = timedelta(microseconds=1)
WITHIN = "T.timestamp >= @low AND T.timestamp <= @high"
NO_TIME = "T.timestamp IS NULL"


class Window(NamedTuple):
    """A span of time, both ends included, and the bytes that a statement reads of it."""

    low: datetime
    high: datetime
    size: int

    @property
    def parameters(self) -> list[Parameter]:
        """The parameters `low` and `high` of a statement."""
        return [
            ScalarQueryParameter("low", "TIMESTAMP", self.low),
            ScalarQueryParameter("high", "TIMESTAMP", self.high),
        ]


def cut(low: datetime, high: datetime, estimate: Callable[[Window], int], cap: int) -> list[Window]:
    """`low` to `high` as few windows, each with an estimate within `cap`, cut at starts of months.

    A month is not cut: if its estimate is above `cap`, so is the window that it becomes.
    """
    found: list[Window] = []
    for window in _parts(low, high, estimate, cap):
        if found and found[-1].size + window.size <= cap:
            found[-1] = Window(found[-1].low, window.high, found[-1].size + window.size)
        else:
            found.append(window)
    return found


def _parts(
    low: datetime, high: datetime, estimate: Callable[[Window], int], cap: int
) -> Iterator[Window]:
    whole = Window(low, high, 0)
    whole = whole._replace(size=estimate(whole))
    middle = None if whole.size <= cap else _middle(low, high)
    if middle is None:
        yield whole
        return
    yield from _parts(low, middle - _STEP, estimate, cap)
    yield from _parts(middle, high, estimate, cap)


def _middle(low: datetime, high: datetime) -> datetime | None:
    """The start of a month after `low`, near the middle; None if there is none up to `high`."""
    for early in _CUT_FIRST:
        if low < early <= high:
            return early
    first, last = (moment.year * 12 + moment.month - 1 for moment in (low, high))
    month = max((first + last) // 2, first + 1)
    return datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) if month <= last else None


def rows_within(
    of_feed: FeedDataset,
    table: bigquery.Table,
    name: str,
    parameters: Sequence[Parameter],
    span: tuple[datetime, datetime],
    **names: str,
) -> Iterator[bigquery.Row]:
    """The rows of statement `name` on the rows of `span`, by one query or one for each window."""
    sql = of_feed.sql(name, within=WITHIN, **names)
    found = [Window(*span, 0)]
    if by_time(table):
        found = cut(
            *span,
            lambda each: of_feed.jobs.estimate(sql, [*parameters, *each.parameters]),
            of_feed.jobs.cap,
        )
    for window in found:
        job = of_feed.jobs.query(sql, [*parameters, *window.parameters], reads=True)
        yield from of_feed.jobs.rows(job)


def all_rows(
    of_feed: FeedDataset,
    table: bigquery.Table,
    name: str,
    parameters: Sequence[Parameter] = (),
    **names: str,
) -> Iterator[bigquery.Row]:
    """The rows of statement `name` on all rows: usually by one query.

    Otherwise by one for each window, and one for the rows without a time.
    """
    whole = of_feed.sql(name, **names)
    if not by_time(table) or of_feed.jobs.estimate(whole, parameters) <= of_feed.jobs.cap:
        yield from of_feed.rows(name, parameters, **names)
        return
    yield from rows_within(of_feed, table, name, parameters, (BEGINNING, END), **names)
    yield from of_feed.rows(name, parameters, within=NO_TIME, **names)


def by_time(table: bigquery.Table) -> bool:
    """Whether a feed's table is partitioned by the time of its rows."""
    partitioning = table.time_partitioning
    return partitioning is not None and str(partitioning.field).lower() == "timestamp"


def newest_rows(
    of_feed: FeedDataset, name: str, parameters: Sequence[Parameter], most: int, **names: str
) -> tuple[list[bigquery.Row], datetime | None]:
    """The rows of statement `name` over as many of the newest months as `most` bytes allow.

    Also the time from which on it reads; None for the whole table.
    """
    sql, jobs = of_feed.sql(name, **names), of_feed.jobs

    def bounded(since: datetime) -> list[Parameter]:
        return [ScalarQueryParameter("since", "TIMESTAMP", since), *parameters]

    windows = [BEGINNING, *_months_back(12, 3, 1)]
    since = next(
        (each for each in windows if jobs.estimate(sql, bounded(each)) <= most),
        windows[-1],
    )
    rows = list(of_feed.rows(name, bounded(since), **names))
    return rows, None if since == BEGINNING else since


def _months_back(*numbers: int) -> list[datetime]:
    """The first moments of past months by their `numbers`: 1 is this month, 2 the previous one."""
    now = datetime.now(UTC)
    months = [now.year * 12 + now.month - number for number in numbers]
    return [datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months]
