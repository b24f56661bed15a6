"""`polycopy wallets list`: each wallet with its state, rows, coverage and last error."""

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
from polycopy_assets.feeds.known import named
from polycopy_assets.ledger.failure import beside
from polycopy_assets.record import attempts, refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.record.partitions import registered
from polycopy_assets.resources.chosen import open_store
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.store.coverage import read_coverage
from polycopy_assets.store.feed_store import FeedStore
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

_REST = 72
"""Characters of a line beside its numbers of rows; of several feeds there are several."""

_REST_SHORT = 37
"""The same with a shortened address."""

_REST_SHORTEST = 31
"""The same with a shortened address, and without a time of day."""

_SHORT = 9
"""Characters of a shortened address."""

_ROOM = 24
"""Characters that an error needs, or it gets a line of its own."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet: its state, trades by the record, and epoch seconds until which it is covered.

    `covered_until` is None without a readable record; `error` is why the latest attempt failed.

    If several feeds are collected, a wallet is complete when it is for each, failed when it is for
    any, and covered as far as for all; `states` has its state in each, and `rows` how many rows of
    each are recorded.
    """

    wallet: str
    state: str
    trades: int
    covered_until: int | None
    error: str
    states: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    rows: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


class _Known:
    """What is recorded of one feed."""

    def __init__(self, record: FeedRecord, store: FeedStore) -> None:
        self.record, self.feed = record, record.feed
        recorded = record.versions()
        self.complete = recorded.keys() - refetching.unfinished(record).keys()
        self.failed = set(attempts.failed(record))
        self.rows = recorded_rows(recorded)
        self._coverage = read_coverage(store)

    def state(self, wallet: str) -> str:
        """The state of a wallet that is collected."""
        if wallet in self.failed:
            return "failed"
        return "complete" if wallet in self.complete else "remaining"

    def read(self, wallets: Sequence[str]) -> Iterator[tuple[int | None, str]]:
        """Until when each of `wallets` is covered, and why it failed."""
        records = dict(self.record.read(wallets))
        tried = attempts.latest(self.record, [each for each in wallets if each in self.failed])
        for wallet in wallets:
            last = records.get(wallet)
            until = last.covered_until if isinstance(last, Record) else None
            error = tried[wallet].reason if wallet in tried else ""
            yield until and extended(until, self._coverage.of(wallet)), error


def listed(
    instance: dg.DagsterInstance, chosen: Settings, states: Collection[str], limit: int | None
) -> tuple[int, Iterator[Listed]]:
    """How many wallets are in one of `states`, and the first `limit` of them.

    In the order of their registration, removed ones last. Their records are read in pages, while
    they are iterated.
    """
    feeds = named(chosen.feeds)
    stores = [open_store(chosen, instance, feed, keep=False) for feed in feeds]
    wallets, retired = dict.fromkeys(registered(instance)), read_wanted(stores[0]).retired
    known = [_Known(FeedRecord(instance, store.feed), store) for store in stores]
    every = {wallet: _state(wallet, known) for wallet in wallets}
    every |= {wallet: str(state) for wallet, state in retired.items() if wallet not in wallets}
    found = [(wallet, state) for wallet, state in every.items() if state in states]

    def read() -> Iterator[Listed]:
        some = found[:limit]
        for start in range(0, len(some), _PAGE):
            page = some[start : start + _PAGE]
            names = [wallet for wallet, _ in page]
            for (wallet, state), *told in zip(
                page, *(each.read(names) for each in known), strict=True
            ):
                ends = [until for until, _ in told]
                rows = {each.feed.name: each.rows.get(wallet, 0) for each in known}
                states = {each.feed.name: each.state(wallet) for each in known}
                yield Listed(
                    wallet=wallet,
                    state=state,
                    trades=rows[feeds[0].name],
                    covered_until=None if None in ends else min(each or 0 for each in ends),
                    error="; ".join(why for _, why in told if why)
                    or (UNNOTED if state == "failed" else ""),
                    states=states if len(known) > 1 and wallet in wallets else msgspec.UNSET,
                    rows=rows if len(known) > 1 else msgspec.UNSET,
                )

    return len(found), read()


def _state(wallet: str, known: Sequence[_Known]) -> str:
    """The worst of its states in each feed."""
    states = {each.state(wallet) for each in known}
    return next(state for state in ("failed", "remaining", "complete") if state in states)


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
    metavar="N",
    help=f"Show at most this many; {LIMIT} by default, 0 for all. With --json: all by default.",
)
@as_json
def list_command(*, states: Sequence[str], limit: int | None, as_json: bool) -> None:
    """List wallets: state, trades, covered until, last error.

    In the order in which they were registered, removed ones last. Sends nothing to the source. If
    several feeds are collected, with the rows of each; then a wallet is complete, and covered as
    far, as it is in all of them.
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
            names = _aligned([*(item.rows or ("trades",))], columns)
            click.echo(line("wallet", "state", names, "covered until", "", columns))
        shown += 1
        until = item.covered_until
        covered = f"{datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M}" if until else "-"
        error = beside(item.wallet, item.error)
        rows = item.rows.values() if item.rows else [item.trades]
        numbers = _aligned([f"{number:,}" for number in rows], columns)
        click.echo(line(item.wallet, item.state, numbers, covered, error, columns))
    return shown


def _aligned(texts: Sequence[str], columns: int | None) -> str:
    """The number of rows of each feed, one under the other in all lines."""
    return " ".join(f"{text:>{_width(columns)}}" for text in texts)


def line(  # noqa: PLR0917 - the columns, in their order
    wallet: str, state: str, trades: str, covered: str, error: str, columns: int | None
) -> str:
    """A line of the list for a terminal that is so many `columns` wide; None: as wide as it gets.

    Below 100 columns addresses are shortened, below 60 the coverage loses its time of day; with
    several feeds, whose numbers need their place, earlier. Where they have none, they get a line of
    their own. An error gets what is left, or a line of its own.
    """
    if columns is None or columns >= max(_WIDE, _REST + len(trades)):
        start = f"{wallet:<42}  {state:<9} {trades:>{_width(None)}}  {covered:<16}"
    else:
        address = f"{wallet[:4]}…{wallet[-4:]}" if len(wallet) > _SHORT else wallet
        whole = columns >= max(_NARROW, _REST_SHORT + len(trades))
        date, width = (covered, 16) if whole else (covered.partition(" ")[0][:10], 10)
        if columns < _REST_SHORTEST + len(trades):
            said = [f"{address:<{_SHORT}} {state:<9} {date}", f"  {trades}"]
            return "\n".join([*said, *([f"  {one_line(error, columns - 3)}"] if error else [])])
        start = f"{address:<{_SHORT}} {state:<9} {trades:>{_width(columns)}} {date:<{width}}"
    if not error:
        return start.rstrip()[:columns]
    if columns is None:
        return f"{start}  {error}"
    if (room := columns - len(start) - 2) >= _ROOM:
        return f"{start}  {one_line(error, room - 1)}"
    return f"{start.rstrip()[:columns]}\n  {one_line(error, columns - 3)}"


def _width(columns: int | None) -> int:
    """Characters of a number of rows."""
    if columns is None or columns >= _WIDE:
        return 13
    return 11 if columns >= _NARROW else 9
