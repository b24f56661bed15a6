"""The attempts at one answer: how they failed, whether to try again, the final error."""

import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from polycopy_assets.errors import (
    ContractBroken,
    PermanentError,
    SourceError,
    TransientError,
    Unreachable,
)
from polycopy_assets.text import counted

SAME_ANSWERS = 3
"""After this many identical broken answers in a row, the contract counts as broken."""

SLOW_ATTEMPTS = 3
"""After this many answers that did not end in time, no further attempt is made, as each takes
minutes."""

LONGEST_SECONDS = 600.0
"""After this many seconds on one answer, no further attempt is made, whatever `Retry-After`
says."""


class RequestRefused(Exception):
    """The source refused, and will refuse again."""


class Retryable(Exception):
    """One attempt failed, but another one may succeed.

    `retry_after` is in seconds, if the source gave it; `same` is equal for answers with the same
    fault; `unreachable` if there was no connection to the source, `slow` if the answer did not end
    in time, `throttled` if the source asks us to wait.
    """

    def __init__(
        self,
        reason: str,
        retry_after: float | None = None,
        *,
        same: Hashable = None,
        unreachable: bool = False,
        slow: bool = False,
        throttled: bool = False,
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.same = same
        self.unreachable = unreachable
        self.slow = slow
        self.throttled = throttled
        self.final = False


class Tries:
    """How many attempts there were, how long they took, and how the last ones failed."""

    def __init__(self) -> None:
        self.used = 0
        self.seconds = 0.0
        self.alike = 0
        self._slow = 0
        self._same: Hashable = None
        self._failed_at: float | None = None

    @contextmanager
    def one(self) -> Iterator[None]:
        """Counts and times an attempt; its failure is final if another would not change it."""
        self.used += 1
        started = time.monotonic()
        try:
            yield
        except Retryable as error:
            self._failed_at = None if error.throttled else time.monotonic()
            self._slow += error.slow
            self.alike = 0 if error.same is None else self.alike * (error.same == self._same) + 1
            self._same = error.same
            spent = self.seconds + time.monotonic() - started
            error.final = (
                self._slow >= SLOW_ATTEMPTS
                or self.alike >= SAME_ANSWERS
                or spent >= LONGEST_SECONDS
            )
            raise
        finally:
            self.seconds += time.monotonic() - started

    def go_on(self) -> None:
        """The wait after a failed attempt is over."""
        if self._failed_at is not None:
            self.seconds += time.monotonic() - self._failed_at


def failure(error: RequestRefused | Retryable, what: str, tries: Tries) -> SourceError:
    """The error to raise for the attempts: all text from outside passes through here."""
    if isinstance(error, RequestRefused):
        return PermanentError(f"{what}: {error}")
    used = counted(tries.used, "attempt")
    if error.unreachable:
        return Unreachable(f"{error}, {used}")
    if tries.alike > 1 and tries.alike == min(tries.used, SAME_ANSWERS):
        return ContractBroken(f"{what}: {error}, {tries.alike} identical answers, {used}")
    return TransientError(f"{what}: {error}, {used}")


def backoff(error: Exception) -> bool | float:
    """Whether another attempt is made, or in how many seconds."""
    if not isinstance(error, Retryable) or error.final:
        return False
    return error.retry_after or True
