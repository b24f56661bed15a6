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
    items: queue.Queue[T | _End] = queue.Queue(ahead)
    stop = threading.Event()

    def put(item: T | _End) -> None:
        while not stop.is_set():
            try:
                items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    async def pump() -> None:
        async for item in make():
            await asyncio.to_thread(put, item)

    def run() -> None:
        try:
            loop.run_until_complete(task)
            put(_End(None))
        except BaseException as error:  # noqa: BLE001 - handed to the consumer, who raises it
            put(_End(error))
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    loop = asyncio.new_event_loop()
    task = loop.create_task(pump())
    thread = threading.Thread(target=run, name="fetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := items.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        with contextlib.suppress(RuntimeError):  # the loop has ended and closed meanwhile
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
