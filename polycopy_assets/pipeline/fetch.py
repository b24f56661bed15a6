"""Fetching: a plan in; each wallet recorded as soon as it is durable; a report out."""

from collections.abc import AsyncIterator, Generator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing

import msgspec

from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.blame import Failed, Suspects, failed
from polycopy_assets.fetch.iterate_async import AHEAD, iterate_async
from polycopy_assets.fetch.many_wallets import Fetcher
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.pipeline.ports import FetchPorts, FetchReport


class FetchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to fetch, in this order.

    Wallets in `full` are fetched from the beginning; for those in `resumed`, an earlier run began
    that. `replacing` are the wallets with segments still to be replaced. `failed` are wallets that
    are already known to fail.
    """

    targets: Sequence[str]
    failed: Sequence[Failed] = ()
    full: AbstractSet[str] = frozenset()
    resumed: AbstractSet[str] = frozenset()
    replacing: AbstractSet[str] = frozenset()


def fetch(plan: FetchPlan, ports: FetchPorts) -> FetchReport:
    """Fetches the wallets of `plan`. A failed wallet is in the report and does not stop the others.

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
        self._failures: list[Failed] = []
        self._recorded = self._new_rows = 0
        self._requests_before = ports.progress.requests

    def do(self) -> None:
        """Fetches until there is nothing more to fetch."""
        plan = self._plan
        self._progress.begin_fetch(len(plan.targets) + len(plan.failed))
        for failure in plan.failed:
            self._fail(failure)
        # Closed before the caller frees its lock, so that nothing keeps running in the background.
        with closing(_outcomes(plan, self._ports)) as outcomes:
            for outcome in outcomes:
                self._attempts(self._ended(outcome))
                self._record.show(self._progress)
        self._attempts(self._suspects.ended())
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
        )

    def _ended(self, outcome: Fetched | Failed) -> list[Failed]:
        """Records an outcome; returns the failures now known to be the wallets' own."""
        if isinstance(outcome, Fetched):
            self._record.write(outcome)
            self._recorded += 1
            self._new_rows += outcome.new_rows
            outcome = _replaced(self._plan, self._ports, outcome)
        if isinstance(outcome, Failed):
            self._fail(outcome)
            return self._suspects.failed(outcome)
        self._progress.done += 1
        return self._suspects.fetched()

    def _fail(self, failure: Failed) -> None:
        self._failures.append(failure)
        self._progress.failed += 1
        self._record.write_failure(failure)

    def _attempts(self, own: Sequence[Failed]) -> None:
        for failure in own:
            self._record.write_attempt(failure)


def _outcomes(plan: FetchPlan, ports: FetchPorts) -> Generator[Fetched | Failed, None, None]:
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
                progress=ports.progress,
                segment_bytes=ports.limits.segment_bytes,
                patience=ports.limits.patience,
                refetching=lambda wallet, full: ports.record.note_refetch(wallet, full=full),
            )
            async for outcome in fetcher.fetch(plan.targets, full=plan.full, resumed=plan.resumed):
                yield outcome

    yield from iterate_async(outcomes, ahead=AHEAD * ports.limits.concurrency, check=ports.check)


def _replaced(plan: FetchPlan, ports: FetchPorts, fetched: Fetched) -> Fetched | Failed:
    """Removes what a full refetch has replaced, now that the new segments are recorded.

    If that fails, the wallet has all its trades but counts as failed: the next fetch tries again.
    """
    if fetched.superseded is None and fetched.wallet not in plan.replacing:
        return fetched
    try:
        if fetched.superseded is not None:
            ports.record.note_refetch(fetched.wallet, full=False)
            refetch.finish(ports.store, fetched.wallet, fetched.superseded)
        ports.record.end_refetch(fetched.wallet)
    except Exception as error:  # noqa: BLE001 - any error is this wallet's failure
        return failed(fetched.wallet, error)
    return fetched
