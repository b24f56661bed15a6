"""Counting: the source's own count of each wallet's trades, beside what the table holds."""

from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import closing

from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.count_wallets import Questions
from polycopy_assets.fetch.iterate_async import AHEAD, iterate_async
from polycopy_assets.ledger.source_counts import Count, Ours
from polycopy_assets.pipeline.ports import CountPorts
from polycopy_assets.trades.page import Witness


def count(wallets: Sequence[Ours], ports: CountPorts) -> list[Failed]:
    """Asks the source for its count of each wallet; returns those that failed or were skipped.

    Raises Stopped, and what recording raises.
    """
    failures: list[Failed] = []
    ports.progress.begin("asking the source for its counts", len(wallets))
    # Closed before the caller frees its lock, so that nothing keeps running in the background.
    with closing(_outcomes(wallets, ports)) as outcomes:
        for outcome in outcomes:
            ports.progress.step.done += 1
            if isinstance(outcome, Count):
                ports.record.write(outcome)
            else:
                failures.append(outcome)
                ports.record.write_failure(outcome)
    ports.progress.begin("")
    return failures


def _outcomes(wallets: Sequence[Ours], ports: CountPorts) -> Generator[Count | Failed, None, None]:
    """The outcome of each of `wallets`, as soon as it is known."""
    if not wallets:
        return

    async def outcomes() -> AsyncIterator[Count | Failed]:
        async with ports.open_source() as source:
            if not isinstance(source, Witness):
                raise TypeError(f"{source.name} cannot count")
            async for outcome in Questions(source, concurrency=ports.concurrency).ask(wallets):
                yield outcome

    yield from iterate_async(outcomes, ahead=AHEAD * ports.concurrency, check=ports.check)
