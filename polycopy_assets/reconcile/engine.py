"""The work that a reconciliation delegates: fetching, loading, and asking for counts."""

from collections.abc import Collection, Sequence
from typing import Protocol

from polycopy_assets.fetch.progress import Progress
from polycopy_assets.pipeline.ports import FetchReport


class Engine(Protocol):
    """Works within one run, which holds the lock on the source where that is needed."""

    progress: Progress

    def check(self) -> None:
        """Raises Stopped if the run must not go on; called before each change."""
        ...

    def fetch(self, wallets: Sequence[str], *, full: bool = False) -> FetchReport:
        """Fetches `wallets` and records them; with `full` from the beginning."""
        ...

    def load(self, force: Collection[str] = ()) -> list[str] | None:
        """Combines and loads; returns the failed checks, or None if there was nothing to do.

        Wallets in `force` are combined again. Raises PolycopyError if it cannot be done.
        """
        ...

    def count(self, wallets: Sequence[str] | None = None, *, refetched: bool = False) -> None:
        """Asks the source for its counts of `wallets`; None: of all that are due."""
        ...
