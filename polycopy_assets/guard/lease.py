"""A lock in the store, for processes that share nothing else.

It is a chain of numbered objects. The process that created the highest number holds the lock, as
long as it goes on: it confirms that it is alive by creating the next number. A name can be created
only once, so if another process has taken over, the next confirmation fails. The last object of a
holder that ends in order says that the lock is free.

A process that died says nothing. On the same machine its locked file tells (`flock(2)`); anywhere
else, the lock is taken over when no number was added for `SILENT_SECONDS`, by the clock of the
process that waits: no two clocks are compared. The holder stops earlier by itself: it does nothing
when it could not confirm for `VALID_SECONDS`, which counts while the machine sleeps, too.
"""

import fcntl
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec

from polycopy_assets.errors import LockLost, ObjectExists, ObjectKept, ObjectLost, StoreError
from polycopy_assets.guard.lock import POLL_SECONDS, Holder
from polycopy_assets.store.base import Store

LEASES = "record/lease/"
CONFIRM_SECONDS = 15.0
VALID_SECONDS = 60.0
SILENT_SECONDS = 120.0
CLOCKS_DIFFER = 300.0
"""Seconds by which the clocks of two machines may differ."""

_NAME = re.compile(r"record/lease/([0-9]{10})\.json")
_LAST = 10**10 - 1
_END_SECONDS = 5.0
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LOG = logging.getLogger(__name__)


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the chain.

    `owner` is an id of the holder, `at` when it was written (epoch seconds, by the holder's clock),
    and `free` whether the lock is free since. `boot`, `file` and `inode` name the locked file that
    is free when the holder is gone, and the machine that it is on.
    """

    owner: str
    holder: Holder
    at: float
    free: bool = False
    boot: str = ""
    file: str = ""
    inode: tuple[int, int] = (0, 0)

    def is_over(self) -> bool:
        """Whether the lock is free, or its holder was on this machine and is gone."""
        return self.free or _is_gone(self)


class Lease:
    """The lock, held. Can be used from several threads.

    `idle_since` is when (epoch seconds, by this machine's clock, at the latest) the holder before
    stopped working; 0 if there was none.
    """

    def __init__(self, store: Store, mine: Link, number: int, before: Link | None) -> None:
        self.idle_since = _stopped(before, mine)
        self._store = store
        self._mine = mine
        self._number = number
        self._lost = ""
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._confirmed = _clock()
        self._thread = threading.Thread(target=self._go_on, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raises LockLost if it is no longer held."""
        if not self._lost and self._is_old():
            self._confirm()
            if not self._lost and self._is_old():
                self._lost = "the lock in the store was not confirmed in time"
        if self._lost:
            raise LockLost(self._lost)

    def release(self) -> None:
        """Frees it; no error if it is no longer held, or the store cannot be reached."""
        self._ended.set()
        if not self._turn.acquire(timeout=_END_SECONDS):
            return  # a confirmation hangs: the next process sees that no more follow
        try:
            if not self._lost:
                last = msgspec.structs.replace(self._mine, at=time.time(), free=True)
                self._store.create(_name(self._number + 1), msgspec.json.encode(last))
        except StoreError as error:
            _LOG.warning("the lock in the store could not be freed: %s", error)
        finally:
            self._turn.release()

    def _is_old(self) -> bool:
        return _clock() - self._confirmed > VALID_SECONDS

    def _go_on(self) -> None:
        while not self._ended.wait(CONFIRM_SECONDS) and not self._lost:
            self._confirm()

    def _confirm(self) -> None:
        """Adds a number; notes if the lock is lost."""
        with self._turn:
            if self._lost or self._ended.is_set():
                return
            began = _clock()
            link = msgspec.structs.replace(self._mine, at=time.time())
            try:
                if _add(self._store, self._number + 1, link):
                    self._number += 1
                    self._confirmed = began
                else:
                    self._lost = (
                        "another process has taken over the lock in the store, because this one"
                        f" had said nothing for {_clock() - self._confirmed:.0f} s"
                    )
            except StoreError as error:
                if self._is_old():
                    self._lost = f"the lock in the store could not be confirmed: {error}"
                _LOG.warning("the lock in the store was not confirmed: %s", error)


def take_lease(
    store: Store,
    holder: Holder,
    file: Path,
    *,
    waiting: Callable[[Holder], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Waits for the lock in `store`, and holds it; `waiting` gets the holder while it waits.

    `file` has to stay locked as long as this process works. Raises StoreError.
    """
    found = file.stat()
    mine = Link(
        owner=uuid.uuid4().hex,
        holder=holder,
        at=time.time(),
        boot=_boot(),
        file=str(file),
        inode=(found.st_dev, found.st_ino),
    )
    seen, since = -1, _clock()
    while True:
        number, link = _latest(store)
        if number != seen:
            seen, since = number, _clock()
        silent = _clock() - since > SILENT_SECONDS
        free = number == 0 or silent or (link is not None and link.is_over())
        if free and _add(store, number + 1, mine):
            return Lease(store, mine, number + 1, link)
        if not free:
            waiting(link.holder if link else Holder(what="what it says cannot be read"))
            sleep(POLL_SECONDS)


def _add(store: Store, number: int, link: Link) -> bool:
    """Adds `link` to the chain as `number`; False if it is not the last one then."""
    name = _name(number)
    try:
        store.create(name, msgspec.json.encode(link))
    except ObjectExists:
        return False
    numbers = _numbers(store)
    if max(numbers, default=0) != number:
        store.delete(name)  # the chain has gone on, and this number had been deleted
        return False
    try:
        for old in numbers:
            if old < number - 1:  # the one before stays, for a listing that began earlier
                store.delete(_name(old))
    except ObjectKept as error:
        _LOG.info("old objects of the lock stay: %s", error)
    return True


def _latest(store: Store) -> tuple[int, Link | None]:
    """The last number of the chain, 0 if there is none, and what it says, if that can be read."""
    while True:
        number = max(_numbers(store), default=0)
        if not number:
            return 0, None
        try:
            return number, msgspec.json.decode(store.read(_name(number)), type=Link)
        except ObjectLost:
            continue  # the chain has gone on
        except (msgspec.DecodeError, UnicodeDecodeError):
            return number, None


def _numbers(store: Store) -> list[int]:
    found = (_NAME.fullmatch(item.name) for item in store.list(LEASES))
    return [int(match[1]) for match in found if match]


def _name(number: int) -> str:
    if number > _LAST:
        raise StoreError(f"{LEASES} holds a number that is not ours: delete the objects there")
    return f"{LEASES}{number:010d}.json"


def _stopped(before: Link | None, mine: Link) -> float:
    if before is None:
        return 0.0
    last = before.at if before.free else before.at + VALID_SECONDS
    return last if before.boot == mine.boot else last + CLOCKS_DIFFER


def _is_gone(link: Link) -> bool:
    """Whether the holder was on this machine, and its locked file is free."""
    if not link.boot or link.boot != _boot():
        return False
    try:
        file = os.open(link.file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(file)
        if (found.st_dev, found.st_ino) != link.inode:
            return False
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def _boot() -> str:
    """An id of this machine since it was started; empty if it has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _clock() -> float:
    """Seconds that also pass while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
