"""Many wallets, concurrently: each outcome is yielded once it is durable, and delays no other."""

import asyncio
from collections.abc import AsyncIterator, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from itertools import takewhile

from polycopy_assets.errors import OutOfTime, PolycopyError, Stopped
from polycopy_assets.fetch.at_once import at_once
from polycopy_assets.fetch.blame import Failed, Streaks, failed
from polycopy_assets.fetch.deadline import Deadline, Timed
from polycopy_assets.fetch.one_wallet import Fetched, WalletFetch
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.fetch.stored_wallet import KnownSegments, Refetching
from polycopy_assets.fetch.walks import Walkers
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.bounds import PATIENCE_SECONDS
from polycopy_assets.trades.cutter import SEGMENT_BYTES
from polycopy_assets.trades.horizon import Horizon
from polycopy_assets.trades.page import Paced, PageSource


class Fetcher:
    """Fetches wallets from `source` into `store`, `concurrency` of them at a time.

    `coverage` is what is known of time without trades. `refetching` is called before segments of a
    wallet are marked for replacement. At the `deadline` it ends.
    """

    def __init__(
        self,
        source: PageSource,
        store: FeedStore,
        *,
        concurrency: int,
        known: KnownSegments,
        coverage: CoverageWriter,
        progress: Progress,
        segment_bytes: int = SEGMENT_BYTES,
        patience: float = PATIENCE_SECONDS,
        refetching: Refetching = lambda wallet, full: None,
        deadline: Deadline | None = None,
    ) -> None:
        self._deadline = deadline or Deadline()
        self._source = Timed(source, self._deadline)
        self._store = store
        self._concurrency = concurrency
        self._known = known
        self._coverage = coverage
        self._progress = progress
        self._segment_bytes = segment_bytes
        self._patience = patience
        self._refetching = refetching
        paced = source if isinstance(source, Paced) else None
        self._walkers = Walkers(concurrency, lambda: paced.at_once if paced else concurrency)
        self._horizon: Horizon | None = None
        self._full: Collection[str] = ()
        self._resumed: Collection[str] = ()
        self._streaks = Streaks()
        self._traceback = ""
        self._probe = asyncio.Lock()

    async def fetch(
        self,
        wallets: Collection[str],
        *,
        full: Collection[str] = (),
        resumed: Collection[str] = (),
    ) -> AsyncIterator[Fetched | Failed]:
        """Yields each wallet's outcome. If the source has no reliable horizon, all fail.

        Wallets in `full` are fetched from the beginning; for those in `resumed`, an earlier run
        began that; see `fetch.refetch`. Wallets that are not complete when the time is up have no
        outcome; what was served of them is kept.
        """
        self._full, self._resumed = full, resumed
        asyncio.get_running_loop().set_default_executor(
            ThreadPoolExecutor(self._concurrency, thread_name_prefix="store")
        )
        self._horizon = await self._ask_horizon()
        if self._horizon is not None:
            await asyncio.to_thread(self._coverage.forget_beyond, self._horizon.until)
        in_time = takewhile(lambda _: not self._deadline.reached, wallets)
        async with aclosing(at_once(in_time, self._outcome, self._concurrency)) as outcomes:
            async for outcome in outcomes:
                if outcome is not None:
                    yield outcome

    async def _ask_horizon(self) -> Horizon | None:
        """The source's horizon; without one, nothing more is fetched in this run.

        For any reason: even an unexpected exception must not end the run without a report on its
        wallets.
        """
        try:
            return await self._source.horizon()
        except Stopped:
            raise
        except OutOfTime:
            return None
        except PolycopyError as error:
            self._streaks.give_up(str(error))
        except Exception as error:  # noqa: BLE001 - reported for every wallet, with the traceback
            unforeseen = failed("", error)
            self._traceback = unforeseen.traceback
            self._streaks.give_up(unforeseen.reason)
        return None

    async def _outcome(self, wallet: str) -> Fetched | Failed | None:
        """The wallet's outcome; None if the time was up before it was complete."""
        if self._deadline.reached:
            return None
        if self._streaks.down or self._horizon is None:
            self._progress.begun += 1
            return Failed(
                wallet=wallet,
                reason=f"not tried: {self._streaks.down}",
                tried=False,
                traceback=self._traceback,
            )
        fetch = WalletFetch(
            wallet,
            self._horizon,
            source=self._source,
            store=self._store,
            known=self._known,
            walkers=self._walkers,
            progress=self._progress,
            covered=self._coverage.of(wallet),
            segment_bytes=self._segment_bytes,
            full=wallet in self._full,
            resumed=wallet in self._resumed,
            patience=self._patience,
            refetching=self._refetching,
        )
        self._progress.begin_wallet(wallet)
        try:
            fetched = await fetch.run()
        except Stopped:
            raise
        except OutOfTime:
            return None
        except Exception as error:  # noqa: BLE001 - any error here is this wallet's failure
            return await self._failed(failed(wallet, error))
        finally:
            self._progress.end_wallet(wallet)
        self._streaks.succeeded()
        return fetched

    async def _failed(self, failure: Failed) -> Failed:
        """Counts the failure, and asks the source for its status if that is in doubt.

        Without this, a run would try a dead source for every wallet, for hours, or request trades
        that a full disk cannot store.
        """
        self._streaks.failed(failure)
        async with self._probe:
            if self._streaks.in_doubt:
                await self._ask_horizon()
        return failure
