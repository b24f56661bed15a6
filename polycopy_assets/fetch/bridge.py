"""From an asynchronous iterator to an ordinary one, with the event loop on a thread of its own.

Recording an outcome takes milliseconds of database work. On the event loop that would stop all
requests; here they go on beside it, and wait when recording falls too far behind.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class _End:
    """Put behind the last item: why the iteration ended."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def iterate(make: Callable[[], AsyncIterator[T]], *, ahead: int) -> Iterator[T]:
    """Yields what the asynchronous iterator of `make` yields, at most `ahead` items behind it.

    Closing the iterator, or an exception thrown into it, cancels the asynchronous one and waits
    until it has ended, so that nothing goes on in the background.
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
    thread = threading.Thread(target=run, name="fetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := items.get(), _End):
            in_loop(room.release)
            yield item
        if item.error is not None:
            raise item.error
    finally:
        in_loop(task.cancel)
        thread.join()
