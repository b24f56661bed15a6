"""A walk ends, whatever is promised; and what it remembers does not grow."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from polycopy_assets.errors import ContractBroken, SourceError, TransientError
from polycopy_assets.trades import bounds
from polycopy_assets.trades.bounds import Bounds, Total
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Page, Row
from polycopy_assets.trades.walk import walk
from polycopy_assets_tests.unit.test_walk import WALLET

UNTIL = 2_000_000_000
SPAN = Interval(0, UNTIL)


def rows(times: Sequence[int], first: int, size: int = 20) -> list[Row]:
    return [
        Row(WALLET, at, f"0x{at}-{first + number}", b"x" * size) for number, at in enumerate(times)
    ]


def more(rows: list[Row], cursor: str, seconds: float = 0.0) -> Page:
    """A page that promises more."""
    return Page(rows, has_more=True, cursor=cursor, limit=1000, requests=1, seconds=seconds)


class Forever:
    """A source that always promises more: page number n has the rows that `make` makes."""

    name = "forever"

    def __init__(self, make: Callable[[int, int], list[Row]], seconds: float = 0.0) -> None:
        self.make = make
        self.seconds = seconds
        self.pages = 0

    async def page(self, wallet: str, span: Interval, cursor: str | None) -> Page:
        del wallet
        number = int(cursor or 0)
        self.pages += 1
        return more(self.make(number, span.until - 1), str(number + 1), self.seconds)

    async def horizon(self) -> Horizon:
        raise AssertionError("a walk gets its bounds, and asks for no horizon")


def walked(source: Forever, total: Total | None = None, span: Interval = SPAN) -> SourceError:
    """How the walk ends; it is cut off long after it should have."""

    async def run() -> None:
        async for _ in walk(source, WALLET, span, total=total):
            pass

    with pytest.raises(SourceError) as error:
        asyncio.run(asyncio.wait_for(run(), 60))
    return error.value


def test_pages_of_one_row_that_promise_more_end_after_a_hundred():
    source = Forever(lambda number, top: rows([top - 1000 * number], number))
    assert str(walked(source)) == (
        "102 rows in 102 pages, and each promised more: 1,000 per page were requested"
    )
    assert source.pages == 102


def test_pages_that_are_small_now_and_then_are_fine():
    def make(number: int, top: int) -> list[Row]:
        count = 1 if number % 2 else 1000
        return rows([top - 1000 * number] * count, 1000 * number)

    total = Total()
    follower = Bounds(total)
    for number in range(2000):
        follower.check(more(make(number, UNTIL), str(number)))
    assert total.promising == 2000


def test_more_rows_in_one_second_than_a_block_of_the_chain_has_room_for():
    source = Forever(lambda number, top: rows([top] * 1000, 1000 * number))
    message = str(walked(source))
    assert message.startswith(f"21,000 rows (420,000 bytes) in the second {UNTIL - 1}; at most")
    assert source.pages == 21


def test_one_second_may_not_fill_the_memory_with_few_long_rows_either():
    source = Forever(lambda number, top: rows([top] * 1000, 1000 * number, size=5000))
    assert "7,000 rows (35,000,000 bytes) in the second" in str(walked(source))


def test_full_pages_that_hardly_go_back_in_time_end():
    source = Forever(lambda number, top: rows([top - number] * 1000, 1000 * number))
    assert str(walked(source)) == (
        "112,000 rows that go back 111 seconds, and more promised: at most 100 a second are"
        " believed"
    )


def test_a_walk_that_is_handed_on_and_on_is_bounded_as_a_whole():
    total, walks = Total(), 0
    todo = [SPAN]

    def split(part: Interval) -> bool:
        todo.append(part)
        return True

    async def run() -> None:
        nonlocal walks
        source = Forever(lambda number, top: rows([top - number] * 1000, 1000 * number))
        while todo:
            walks += 1
            async for _ in walk(source, WALLET, todo.pop(), total=total, split=split):
                pass

    with pytest.raises(ContractBroken, match=r"rows that go back"):
        asyncio.run(run())
    assert walks > 1
    assert total.rows < 120_000


def test_no_fetch_takes_more_rows_than_all_wallets_together_may_have(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(bounds, "MOST_ROWS", 30_000)
    source = Forever(lambda number, top: rows(range(top - 9999 * number, 0, -9)[:1000], number))
    assert str(walked(source)).startswith("31,000 rows, and more promised: at most 30,000")


def test_a_cursor_that_is_a_book_is_refused():
    page = more(rows([5], 0), "c" * 5000)
    with pytest.raises(ContractBroken, match="a cursor of 5,000 characters"):
        Bounds(Total()).check(page)


def test_pages_that_are_slow_each_time_end_the_walk_as_an_outage_and_keep_what_came():
    source = Forever(lambda number, top: rows([top - 1000 * number] * 1000, number), seconds=53.0)
    total = Total(patience=500.0)

    async def run() -> list[int]:
        kept = []
        try:
            async for draft in walk(source, WALLET, SPAN, total=total):
                kept.append(draft.rows)  # noqa: PERF401 - kept when the walk fails
        except TransientError as error:
            assert "slow pages took 550 s, more than 500 s" in str(error)  # noqa: PT017
        return kept

    assert asyncio.run(run()) == [9000]
    assert source.pages == 11


def test_what_a_long_walk_remembers_does_not_grow():
    follower = Bounds(Total())

    sizes = []
    for number in range(3000):
        page = rows([UNTIL - 100 * number - each // 20 for each in range(200)], number)
        follower.check(more(page, f"cursor-{number:05d}"))
        if number in {1000, 2999}:
            sizes.append(len(follower._cursors) + len(follower._contents))
    assert sizes[0] == sizes[1]
    assert len(follower._cursors) < 400


def test_a_page_that_comes_again_within_its_second_is_seen_however_many_pages_lie_between():
    follower = Bounds(Total())
    pages = [rows([UNTIL] * 100, 100 * number) for number in range(195)]
    for number, page in enumerate([*pages, pages[0]]):
        checked = more(page, str(number))
        if number == 195:
            with pytest.raises(ContractBroken, match="came again under a new cursor"):
                follower.check(checked)
        else:
            follower.check(checked)
