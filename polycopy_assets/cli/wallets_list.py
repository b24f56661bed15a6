"""`polycopy wallets list`: each wallet with its state, trades, coverage and last error."""

import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime

import click
import dagster as dg
import msgspec

from polycopy_assets.cli.common import Command, as_json, one_line_errors, say
from polycopy_assets.cli.failed import UNNOTED
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.next_steps import NO_WALLETS
from polycopy_assets.cli.usable import usable
from polycopy_assets.ledger.failure import beside
from polycopy_assets.record import attempts, refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.record.partitions import registered
from polycopy_assets.resources.chosen import open_store
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.text import one_line
from polycopy_assets.trades.coverage import extended
from polycopy_assets.trades.segment import recorded_rows

STATES = ("complete", "remaining", "failed", "removed", "purging", "purged")
LIMIT = 100
_PAGE = 500
_WIDE = 100
"""Columns of a terminal from which on addresses are not shortened."""

_NARROW = 60
"""Columns below which the coverage has no time of day."""

_SHORT = 9
"""Characters of a shortened address."""

_ROOM = 24
"""Characters that an error needs, or it gets a line of its own."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet: its state, trades by the record, and epoch seconds until which it is covered.

    `covered_until` is None without a readable record; `error` is why the latest attempt failed.
    """

    wallet: str
    state: str
    trades: int
    covered_until: int | None
    error: str


def listed(
    instance: dg.DagsterInstance, chosen: Settings, states: Collection[str], limit: int | None
) -> tuple[int, Iterator[Listed]]:
    """How many wallets are in one of `states`, and the first `limit` of them.

    In the order of their registration, removed ones last. Their records are read in pages, while
    they are iterated.
    """
    store = open_store(chosen, instance, keep=False)
    wallets, retired = dict.fromkeys(registered(instance)), read_wanted(store).retired
    record = FeedRecord(instance, store.feed)
    recorded, unfinished = record.versions(), refetching.unfinished(record)
    complete = recorded.keys() - unfinished.keys()
    failed = set(attempts.failed(record))
    every = {
        wallet: "failed" if wallet in failed else "complete" if wallet in complete else "remaining"
        for wallet in wallets
    } | {wallet: str(state) for wallet, state in retired.items() if wallet not in wallets}
    found = [(wallet, state) for wallet, state in every.items() if state in states]
    trades = recorded_rows(recorded)
    coverage = read_coverage(store)

    def read() -> Iterator[Listed]:
        some = found[:limit]
        for start in range(0, len(some), _PAGE):
            page = some[start : start + _PAGE]
            names = [wallet for wallet, _ in page]
            records = dict(record.read(names))
            tried = attempts.latest(record, [wallet for wallet in names if wallet in failed])
            for wallet, state in page:
                last = records.get(wallet)
                until = last.covered_until if isinstance(last, Record) else None
                yield Listed(
                    wallet=wallet,
                    state=state,
                    trades=trades.get(wallet, 0),
                    covered_until=until and extended(until, coverage.of(wallet)),
                    error=tried[wallet].reason
                    if wallet in tried
                    else UNNOTED
                    if state == "failed"
                    else "",
                )

    return len(found), read()


@click.command(
    "list",
    cls=Command,
    needs_data=True,
    examples=(
        "polycopy wallets list --state failed",
        "polycopy wallets list --json",
    ),
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Only wallets in this state; may be repeated.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"Show at most this many; {LIMIT} by default, 0 for all. With --json: all by default.",
)
@as_json
def list_command(*, states: Sequence[str], limit: int | None, as_json: bool) -> None:
    """List wallets: state, trades, covered until, last error.

    In the order in which they were registered, removed ones last. Sends nothing to the source.
    """
    most = limit if limit is not None else 0 if as_json else LIMIT
    with one_line_errors():
        chosen = settings()
        with open_instance(chosen, Needs.RECORD) as instance, usable(chosen):
            total, found = listed(instance, chosen, states or STATES, most or None)
            if as_json:
                click.echo(msgspec.json.encode({"total": total, "wallets": list(found)}))
                return
            shown = _print(found)
    if total > shown:
        say(f"{total - shown:,} more: --limit 0 lists all, --state failed only those that failed")
    if not total and states:
        say(f"no wallet is {' or '.join(states)}")
    elif not total:
        say(NO_WALLETS)


def _print(found: Iterator[Listed]) -> int:
    """Prints the wallets as they are read; returns how many."""
    # Not a terminal: whole addresses and reasons, for other programs.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    shown = 0
    for item in found:
        if not shown:
            click.echo(line("wallet", "state", "trades", "covered until", "", columns))
        shown += 1
        until = item.covered_until
        covered = f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M}" if until else "-"
        error = beside(item.wallet, item.error)
        click.echo(line(item.wallet, item.state, f"{item.trades:,}", covered, error, columns))
    return shown


def line(  # noqa: PLR0917 - the columns, in their order
    wallet: str, state: str, trades: str, covered: str, error: str, columns: int | None
) -> str:
    """A line of the list for a terminal that is so many `columns` wide; None: as wide as it gets.

    Below 100 columns addresses are shortened, below 60 the coverage loses its time of day. An error
    gets what is left, or a line of its own.
    """
    if columns is None or columns >= _WIDE:
        start = f"{wallet:<42}  {state:<9} {trades:>13}  {covered:<16}"
    else:
        address = f"{wallet[:4]}…{wallet[-4:]}" if len(wallet) > _SHORT else wallet
        date = covered if columns >= _NARROW else covered[:10]
        width = 16 if columns >= _NARROW else 10
        start = f"{address:<{_SHORT}} {state:<9} {trades:>{_trades(columns)}} {date:<{width}}"
    if not error:
        return start.rstrip()[:columns]
    if columns is None:
        return f"{start}  {error}"
    if (room := columns - len(start) - 2) >= _ROOM:
        return f"{start}  {one_line(error, room - 1)}"
    return f"{start.rstrip()[:columns]}\n  {one_line(error, columns - 3)}"


def _trades(columns: int) -> int:
    return 11 if columns >= _NARROW else 9
