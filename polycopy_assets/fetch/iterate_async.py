"""From an asynchronous iterator to an ordinary one, with the event loop on a thread of its own.

Recording an outcome takes milliseconds of database work. On the event loop that would stop all
requests; here they continue meanwhile, and wait only if recording is slower than fetching.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

from polycopy_assets.system.threads import FETCH

T = TypeVar("T")
AHEAD = 4
"""Outcomes that may wait to be recorded, for each request in flight."""

CHECK_SECONDS = 0.25
JOIN_SECONDS = 60.0
ABANDON_SECONDS = 1.0
"""How long an iterator that is abandoned may take to end."""


class _End:
    """Queued after the last item: why the iteration ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Abandoned(Exception):
    """Raised by `check`: the iteration ends with what is ready."""


def iterate_async(
    make: Callable[[], AsyncIterator[T]],
    *,
    ahead: int,
    check: Callable[[], None] = lambda: None,
) -> Iterator[T]:
    """Yields what the asynchronous iterator of `make` yields, which is at most `ahead` items ahead.

    Closing the iterator, or throwing an exception into it, cancels the asynchronous iterator and
    waits until it has ended, so that nothing keeps running in the background. `check` is called
    before each item, and every CHECK_SECONDS while there is nothing to yield; it may raise.

    If `check` raises Abandoned, the asynchronous iterator is cancelled as well, and the iteration
    ends without an error, after the items that are ready.
    """
    items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    room = asyncio.Semaphore(ahead)

    async def pump() -> None:
        async for item in make():
            await room.acquire()
            items.put(item)

    def run() -> None:
        try:
            loop.run_until_complete(task)
            items.put(_End(None))
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            items.put(_End(error))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    def in_loop(callback: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended and closed meanwhile
            loop.call_soon_threadsafe(callback)

    loop = asyncio.new_event_loop()
    task = loop.create_task(pump())
    thread = threading.Thread(target=run, name=FETCH, daemon=True)
    thread.start()
    patience = JOIN_SECONDS
    try:
        while not isinstance(item := _next(items, check), _End):
            in_loop(room.release)
            yield item
        if item.error is not None:
            raise item.error
    except Abandoned:
        in_loop(task.cancel)
        patience = ABANDON_SECONDS
        thread.join(patience)
        yield from _ready(items)
    finally:
        in_loop(task.cancel)
        # A thread that hangs in a call to the store cannot be ended; it sends no more requests.
        thread.join(patience)


def _ready(items: "queue.SimpleQueue[T | _End]") -> Iterator[T]:
    """What is queued, without the end."""
    while not items.empty():
        item = items.get()
        if not isinstance(item, _End):
            yield item


def _next(items: "queue.SimpleQueue[T | _End]", check: Callable[[], None]) -> "T | _End":
    while True:
        check()
        with contextlib.suppress(queue.Empty):
            return items.get(timeout=CHECK_SECONDS)
