"""Fetching: a plan in; wallets recorded soon after they are durable; a report out.

One event costs the record's database nearly as much as fifty. So wallets are recorded in batches,
which are small and never wait long. A process that is killed loses the records of one batch at
most: the segments are in the store, so the next fetch requests nothing that they cover.
"""

import logging
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from time import monotonic

import msgspec

from polycopy_assets.errors import Stopped, StoreError
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.blame import Failed, Suspects, failed
from polycopy_assets.fetch.iterate_async import AHEAD, Abandoned, iterate_async
from polycopy_assets.fetch.many_wallets import Fetcher
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.pipeline.leftovers import Leftovers
from polycopy_assets.pipeline.ports import FetchPorts, FetchReport

_LOG = logging.getLogger(__name__)

BATCH = 50
"""Wallets that are recorded together, at most."""

BATCH_SECONDS = 0.5
"""How long a wallet may wait for its record while the fetch goes on, about."""

ODDITIES = 20
"""How many strange things a report names."""

QUIET, QUIET_SECONDS = 500, 5.0
"""The same, while there are only wallets without news: each time makes one coverage object."""


class FetchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to fetch, in this order.

    Wallets in `full` are fetched from the beginning; for those in `resumed`, an earlier run began
    that. `replacing` are the wallets with segments still to be replaced. `failed` are wallets that
    are already known to fail. `expected` are the trades that the source will serve, as far as the
    record knows them; 0 if it does not.
    """

    targets: Sequence[str]
    failed: Sequence[Failed] = ()
    full: AbstractSet[str] = frozenset()
    resumed: AbstractSet[str] = frozenset()
    replacing: AbstractSet[str] = frozenset()
    expected: int = 0


def fetch(plan: FetchPlan, ports: FetchPorts) -> FetchReport:
    """Fetches the wallets of `plan`. A failed wallet is in the report and does not stop the others.

    At the deadline it ends, with the wallets that are not complete `left`. If the process was told
    to stop, it ends at once with what is durable, and leaves tidying to the next fetch.

    Raises Stopped, and what recording raises, after `record` has the report of the work done until
    then.
    """
    work = _Work(plan, ports)
    try:
        work.do()
    except Exception as error:
        _keep(msgspec.structs.replace(work.report(), ended_early=True), ports, error)
        raise
    finally:
        ports.progress.fetching = False
    return work.report()


def _keep(report: FetchReport, ports: FetchPorts, why: Exception) -> None:
    """Records the report of a fetch that ends with an error, which stays the one to be raised."""
    try:
        ports.record.end(report)
    except Exception as error:  # noqa: BLE001 - told with the error that came first
        why.add_note(f"the report of the fetch could not be recorded: {error}")


class _Work:
    """One fetch: its outcomes, recorded and counted."""

    def __init__(self, plan: FetchPlan, ports: FetchPorts) -> None:
        self._plan, self._ports = plan, ports
        self._record, self._progress = ports.record, ports.progress
        self._suspects = Suspects()
        self._leftovers = Leftovers(ports.store)
        self._failures: list[Failed] = []
        self._pending: list[Fetched] = []
        self._pending_since = 0.0
        self._news = False
        self._own: list[Failed] = []
        self._recorded = self._new_rows = self._outcomes = 0
        self._oddities: dict[str, str] = {}
        self._requests_before = ports.progress.requests

    def do(self) -> None:
        """Fetches until there is nothing more to fetch."""
        plan, feed = self._plan, self._ports.store.feed
        wallets = len(plan.targets) + len(plan.failed)
        self._progress.begin_fetch(wallets, plan.expected, feed.row, feed.rows)
        self._progress.begun = len(plan.failed)
        for failure in plan.failed:
            self._fail(failure)
        # Closed before the caller frees its lock, so that nothing keeps running in the background.
        with closing(_outcomes(plan, self._ports, self._check)) as outcomes:
            try:
                for outcome in outcomes:
                    self._ended(outcome)
                    if self._leftovers.many:
                        self._remove_leftovers()
                    self._record.show(self._progress)
            except BaseException as error:
                self._commit_after(error)
                raise
        self._commit()
        if not self._ports.deadline.told:
            self._fold()
        self._own += self._suspects.ended()
        self._attempts()
        if not self._ports.deadline.told:
            self._remove_leftovers()
        self._progress.sample()

    def report(self) -> FetchReport:
        """The report of the work done until now."""
        return FetchReport(
            wallets=self._progress.wallets,
            recorded=self._recorded,
            new_rows=self._new_rows,
            requests=self._progress.requests - self._requests_before,
            failures=self._failures,
            down=self._suspects.down,
            left=len(self._plan.targets) - self._outcomes if self._ports.deadline.reached else 0,
            oddities=self._oddities,
        )

    def _check(self) -> None:
        """Called before each outcome, and often while there is none: also records what is due."""
        self._ports.check()
        most, seconds = (BATCH, BATCH_SECONDS) if self._news else (QUIET, QUIET_SECONDS)
        waited = monotonic() - self._pending_since
        if len(self._pending) >= most or (self._pending and waited >= seconds):
            self._commit()
        if self._ports.deadline.abandoned:
            raise Abandoned

    def _ended(self, outcome: Fetched | Failed) -> None:
        """Takes an outcome."""
        self._outcomes += 1
        if isinstance(outcome, Failed):
            self._failed(outcome)
            self._attempts()
            return
        if not self._pending:
            self._pending_since = monotonic()
        self._pending.append(outcome)
        self._news |= not outcome.known
        if _replaces(self._plan, outcome):
            self._commit()  # what is replaced may be deleted only now

    def _commit(self) -> None:
        """Records the pending wallets, and counts them as recorded."""
        if not self._pending:
            return
        # Written once, whatever happens meanwhile.
        pending, self._pending, self._news = self._pending, [], False
        durable, failures = self._stated(pending)
        for fetched in durable:
            self._record.write(fetched)
        self._record.flush()
        for fetched in durable:
            self._recorded += 1
            self._new_rows += fetched.new_rows
            self._progress.recorded_rows += fetched.new_rows
            self._notice(fetched)
            self._leftovers.add(fetched.leftovers)
            if failure := _replaced(self._plan, self._ports, fetched):
                failures.append(failure)
            else:
                self._progress.done += 1
                self._own += self._suspects.fetched()
        for failure in failures:
            self._failed(failure)
        self._attempts()

    def _notice(self, fetched: Fetched) -> None:
        """Notes what is strange in a wallet's new rows, until so much is noted."""
        for what in fetched.oddities:
            if len(self._oddities) < ODDITIES:
                self._oddities.setdefault(what, fetched.wallet)

    def _stated(self, pending: Sequence[Fetched]) -> tuple[list[Fetched], list[Failed]]:
        """Makes durable what the records rely on beside their segments.

        Returns the wallets for which that succeeded, and the others, which failed.
        """
        statements = [each.statement for each in pending if each.statement is not None]
        if not statements:
            return list(pending), []
        try:
            self._ports.coverage.add(statements)
        except StoreError as error:
            without = [each for each in pending if each.statement is None]
            lost = [failed(item.wallet, error) for item in statements]
            return without, lost
        return list(pending), []

    def _fold(self) -> None:
        """Tidies the coverage objects. If that fails it is done by the next fetch."""
        self._ports.check()  # another run may write them if this one has lost its lock
        try:
            self._ports.coverage.fold()
        except StoreError as error:
            _LOG.warning("the coverage objects were not folded: %s", error)

    def _commit_after(self, error: BaseException) -> None:
        """Records the pending wallets of a fetch that ends with `error`, which is raised after it.

        Not if the run must stop: another run may have recorded newer coverage of these wallets.
        """
        if isinstance(error, Stopped):
            return
        try:
            self._commit()
        except Exception as second:  # noqa: BLE001 - told with the error that came first
            error.add_note(f"the last wallets could not be recorded: {second}")

    def _remove_leftovers(self) -> None:
        """Removes what the records written so far have made superfluous."""
        self._ports.check()  # another run may rely on it if this one has lost its lock
        self._leftovers.remove()

    def _fail(self, failure: Failed) -> None:
        self._commit()  # the record keeps the order of the outcomes
        self._failures.append(failure)
        self._progress.failed += 1
        self._record.write_failure(failure)

    def _failed(self, failure: Failed) -> None:
        """Takes the failure of a wallet that was fetched, or was not tried."""
        self._fail(failure)
        self._own += self._suspects.failed(failure)

    def _attempts(self) -> None:
        """Counts the failures that are now known to be the wallets' own."""
        own, self._own = self._own, []
        for failure in own:
            self._record.write_attempt(failure)


def _outcomes(
    plan: FetchPlan, ports: FetchPorts, check: Callable[[], None]
) -> Generator[Fetched | Failed, None, None]:
    """The outcome of each wallet, as soon as it is known."""
    if not plan.targets:
        return

    async def outcomes() -> AsyncIterator[Fetched | Failed]:
        async with ports.open_source() as source:
            fetcher = Fetcher(
                source,
                ports.store,
                concurrency=ports.limits.concurrency,
                known=ports.record.segments,
                coverage=ports.coverage,
                progress=ports.progress,
                segment_bytes=ports.limits.segment_bytes,
                patience=ports.limits.patience,
                refetching=lambda wallet, full: ports.record.note_refetch(wallet, full=full),
                deadline=ports.deadline,
            )
            async for outcome in fetcher.fetch(plan.targets, full=plan.full, resumed=plan.resumed):
                yield outcome

    ahead = AHEAD * ports.limits.concurrency
    yield from iterate_async(outcomes, ahead=ahead, check=check)


def _replaces(plan: FetchPlan, fetched: Fetched) -> bool:
    """Whether segments of the wallet are replaced by what was fetched."""
    return fetched.superseded is not None or fetched.wallet in plan.replacing


def _replaced(plan: FetchPlan, ports: FetchPorts, fetched: Fetched) -> Failed | None:
    """Removes what a full refetch has replaced, now that the new segments are recorded.

    If that fails, the wallet has all its trades but counts as failed: the next fetch tries again.
    """
    if not _replaces(plan, fetched):
        return None
    try:
        if fetched.superseded is not None:
            ports.record.note_refetch(fetched.wallet, full=False)
            refetch.finish(ports.store, fetched.wallet, fetched.superseded)
        ports.record.end_refetch(fetched.wallet)
    except Exception as error:  # noqa: BLE001 - any error is this wallet's failure
        return failed(fetched.wallet, error)
    return None
