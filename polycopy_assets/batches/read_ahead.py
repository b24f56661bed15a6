"""Reads on in another thread while the caller works, by a bounded number of items."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Failed(NamedTuple):
    error: BaseException


class _Ended:
    """The iterable has no more items."""


class _Ahead(Generic[T]):
    def __init__(self, most: int) -> None:
        self._ready: queue.Queue[T | _Failed | _Ended] = queue.Queue(most)
        self._stopped = threading.Event()

    def fill(self, items: Iterable[T]) -> None:
        try:
            for item in items:
                self._ready.put(item)
                if self._stopped.is_set():
                    return
            self._ready.put(_Ended())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            self._ready.put(_Failed(error))

    def items(self) -> Iterator[T]:
        while not isinstance(item := self._ready.get(), _Ended):
            if isinstance(item, _Failed):
                raise item.error
            yield item

    def stop(self, thread: threading.Thread) -> None:
        """Ends the thread, which may be waiting for room."""
        self._stopped.set()
        while thread.is_alive():
            try:
                self._ready.get(timeout=0.01)
            except queue.Empty:
                continue


@contextmanager
def read_ahead(items: Callable[[], Iterable[T]], most: int) -> Iterator[Iterator[T]]:
    """The items, of which a thread prepares at most `most` ahead; it ends with the context.

    An error of `items` is raised where its next item would be.
    """
    ahead: _Ahead[T] = _Ahead(most)
    thread = threading.Thread(target=lambda: ahead.fill(items()), name="read-ahead", daemon=True)
    thread.start()
    try:
        yield ahead.items()
    finally:
        ahead.stop(thread)
