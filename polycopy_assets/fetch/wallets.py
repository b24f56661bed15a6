"""Many wallets: concurrent, each outcome told as soon as it is durable, none holding another."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing

import msgspec

from polycopy_assets.errors import (
    ContractBroken,
    ObjectDamaged,
    ObjectExists,
    ObjectKept,
    ObjectLost,
    PolycopyError,
    StoreError,
    TransientError,
    Unexpected,
    Unreachable,
)
from polycopy_assets.fetch.at_once import at_once
from polycopy_assets.fetch.wallet import Fetched, KnownSegments, Refetching, Walkers, WalletFetch
from polycopy_assets.progress import Progress
from polycopy_assets.store.base import Store
from polycopy_assets.trades.bounds import PATIENCE_SECONDS
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.page import PageSource

DOWN_AFTER = 8
"""Wallets that met an outage in a row before the source itself is asked whether it is alive, or
the store counts as out of order."""

HOPELESS_AFTER = 24
"""Wallets that failed in a row after which it counts as down, whatever it says of itself."""


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet that could not be completed, and why; its finished segments are kept.

    `kind` is the error's: `permanent`, `transient`, `contract`, `store`, or `internal` for one that
    nobody foresaw, whose `traceback` is kept. `tried` is False where
    the source or the store was down and the wallet's turn never came. `outage` is True where it
    may have been: then the next wallets tell whether this one is at fault.
    """

    wallet: str
    reason: str
    kind: str = ""
    tried: bool = True
    outage: bool = False
    traceback: str = ""


def failed(wallet: str, error: Exception, *, outage: bool = False) -> Failed:
    """The failure of `wallet` that `error` is, foreseen or not."""
    known = error if isinstance(error, PolycopyError) else Unexpected(error)
    return Failed(
        wallet=wallet,
        reason=f"{known.kind}: {known}",
        kind=known.kind,
        outage=outage,
        traceback=known.traceback if isinstance(known, Unexpected) else "",
    )


class Fetcher:
    """Fetches wallets from `source` into `store`, `concurrency` of them at a time.

    `refetching` is told before segments of a wallet are marked as to be replaced.
    """

    def __init__(
        self,
        source: PageSource,
        store: Store,
        *,
        concurrency: int,
        known: KnownSegments,
        progress: Progress,
        segment_bytes: int = SEGMENT_BYTES,
        patience: float = PATIENCE_SECONDS,
        refetching: Refetching = lambda wallet, full: None,
    ) -> None:
        self._source = source
        self._store = store
        self._concurrency = concurrency
        self._known = known
        self._progress = progress
        self._segment_bytes = segment_bytes
        self._patience = patience
        self._refetching = refetching
        self._walkers = Walkers(concurrency)
        self._horizon: Horizon | None = None
        self._full: Collection[str] = ()
        self._resumed: Collection[str] = ()
        self._down = ""
        self._down_traceback = ""
        self._outages = 0
        self._broken = 0
        self._store_failures = 0
        self._probe = asyncio.Lock()

    async def fetch(
        self,
        wallets: Iterable[str],
        *,
        full: Collection[str] = (),
        resumed: Collection[str] = (),
    ) -> AsyncIterator[Fetched | Failed]:
        """Yields each wallet's outcome. If the source has no horizon to rely on, all fail.

        Those in `full` are fetched from the beginning, those in `resumed` too if that was begun
        before; see `fetch.refetch`.
        """
        self._full, self._resumed = full, resumed
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(self._concurrency, thread_name_prefix="store")
        )
        self._horizon = await self._ask_horizon()
        async with aclosing(at_once(wallets, self._outcome, self._concurrency)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def _ask_horizon(self) -> Horizon | None:
        """The source's horizon; if it cannot be had, nothing is fetched until a later run.

        Whatever the reason: an exception that nobody foresaw must not end the run without a word
        about its wallets.
        """
        try:
            return await self._source.horizon()
        except PolycopyError as error:
            self._down = str(error)
        except Exception as error:  # noqa: BLE001 - it is said of every wallet, with the traceback
            unforeseen = Unexpected(error)
            self._down = f"{unforeseen.kind}: {unforeseen}"
            self._down_traceback = unforeseen.traceback
        return None

    async def _outcome(self, wallet: str) -> Fetched | Failed:
        if self._down or self._horizon is None:
            return Failed(
                wallet=wallet,
                reason=f"not tried: {self._down}",
                tried=False,
                traceback=self._down_traceback,
            )
        fetch = WalletFetch(
            wallet,
            self._horizon,
            source=self._source,
            store=self._store,
            known=self._known,
            walkers=self._walkers,
            progress=self._progress,
            segment_bytes=self._segment_bytes,
            full=wallet in self._full,
            resumed=wallet in self._resumed,
            patience=self._patience,
            refetching=self._refetching,
        )
        try:
            fetched = await fetch.run()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this wallet's failure
            await self._after_failure(error)
            return failed(wallet, error, outage=_is_source_outage(error) or _is_store_outage(error))
        self._outages = self._broken = self._store_failures = 0
        return fetched

    async def _after_failure(self, error: Exception) -> None:
        """After many outages in a row, finds out whether source or store is down for everybody.

        Without this a dead source would be tried for every wallet, for hours, and a live one
        asked for what a full disk cannot take.
        """
        if _is_store_outage(error):
            self._store_failures += 1
            if self._store_failures >= DOWN_AFTER and not self._down:
                count = self._store_failures
                self._down = f"the store failed {count} wallets in a row, last: {error}"
        if isinstance(error, ContractBroken):
            self._broken += 1
        elif _is_source_outage(error):
            self._outages += 1
        else:
            return
        async with self._probe:
            if self._in_doubt(error) and not self._down:
                await self._ask_horizon()
            if self._outages >= HOPELESS_AFTER and not self._down:
                self._down = f"{self._outages} wallets in a row failed, last: {error}"

    def _in_doubt(self, error: Exception) -> bool:
        """Whether the source itself is to be asked if it is there.

        At once where no connection was made, and now and then where broken answers come in a row:
        a portal in between may answer everything with the same page.
        """
        broken = self._broken > 0 and self._broken % DOWN_AFTER == 0
        return isinstance(error, Unreachable) or self._outages >= DOWN_AFTER or broken


def _is_source_outage(error: Exception) -> bool:
    return isinstance(error, TransientError)


def _is_store_outage(error: Exception) -> bool:
    """One object that is lost, taken, damaged or kept says nothing about the store."""
    own = ObjectLost | ObjectExists | ObjectDamaged | ObjectKept
    return isinstance(error, StoreError) and not isinstance(error, own)
