"""From an asynchronous iterator to an ordinary one."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest

from polycopy_assets.fetch.iterate_async import Abandoned, iterate_async


def fetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fetch"]


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(0)
        yield number


def test_items_come_in_order_and_the_thread_ends():
    assert list(iterate_async(lambda: numbers(100), ahead=3)) == list(range(100))
    assert fetch_threads() == []


def test_an_error_is_raised_where_the_items_are_taken():
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("in the loop")

    items = iterate_async(broken, ahead=3)
    assert next(items) == 1
    with pytest.raises(ValueError, match="in the loop"):
        next(items)
    assert fetch_threads() == []


def test_closing_early_cancels_what_goes_on_and_waits_for_it():
    ended = []

    async def endless() -> AsyncIterator[int]:
        try:
            for number in range(10**9):
                await asyncio.sleep(0)
                yield number
        finally:
            ended.append(True)

    items = iterate_async(endless, ahead=2)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert ended == [True]
    assert fetch_threads() == []


def test_abandoned_it_ends_with_what_is_ready_and_without_an_error():
    taken: list[int] = []
    ready = threading.Event()

    async def ten_and_then_none() -> AsyncIterator[int]:
        for number in range(10):
            yield number
        ready.set()
        await asyncio.sleep(3600)

    def check() -> None:
        if ready.wait(10):
            raise Abandoned

    taken.extend(iterate_async(ten_and_then_none, ahead=20, check=check))
    assert taken == list(range(10))
    assert fetch_threads() == []


def test_a_process_ends_though_the_iterator_was_left_open():
    code = """
import time
from polycopy_assets.fetch.iterate_async import Abandoned, iterate_async
from polycopy_assets_tests.unit.test_iterate_async import numbers
left_open = iterate_async(lambda: numbers(10**9), ahead=2)
print(next(left_open))
time.sleep(0.5)  # until there is no room any more
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
