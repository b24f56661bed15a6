"""Runs many tasks concurrently, and yields each result as soon as it is ready."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def at_once(
    items: Iterable[T], outcome: Callable[[T], Awaitable[R]], concurrency: int
) -> AsyncGenerator[R, None]:
    """Yields the result of `outcome` for each of `items`, `concurrency` of them at a time.

    Closing the iterator cancels the tasks under way and waits until they have ended.
    """
    queue = iter(items)
    tasks: set[asyncio.Future[R]] = set()
    try:
        while True:
            while len(tasks) < concurrency:
                try:
                    item = next(queue)
                except StopIteration:
                    break
                tasks.add(asyncio.ensure_future(outcome(item)))
            if not tasks:
                return
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
