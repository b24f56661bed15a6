"""`polycopy wallets discover`: finds wallets on the source's boards, and adds them on request."""

import json
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from polycopy_assets.boards.board import (
    MOST,
    OVERALL,
    SORTS,
    WINDOWS,
    Asked,
    Board,
    Entry,
    asked_of,
)
from polycopy_assets.boards.walk import empty
from polycopy_assets.cli.common import Command, as_json, one_line_errors, say
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import SOURCE, alone
from polycopy_assets.guard.lock import this_process
from polycopy_assets.guard.working import Permit
from polycopy_assets.pipeline.discover import read_board
from polycopy_assets.resources.chosen import open_warehouse, source_resource
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings
from polycopy_assets.text import counted
from polycopy_assets.trades.wallet import refusals, sort_out

_ADDRESS = 42
"""Characters of a wallet's address."""

Add = Callable[[Settings, Sequence[str]], int]


def discover_command(add: Add) -> click.Command:
    """The command; `add` adds wallets to `traders`, unless they were removed.

    It returns how many were new there.
    """

    @click.command(
        "discover",
        cls=Command,
        examples=(
            "polycopy wallets discover --top 500 --add",
            "polycopy wallets discover --window month --category politics --by volume",
            "polycopy wallets discover --market some-market-slug",
        ),
    )
    @click.option(
        "--window",
        type=click.Choice(WINDOWS),
        help="`all` ranks by realized PnL, the others by the change in a wallet's worth in that"
        " time. Default: week.",
    )
    @click.option(
        "--category",
        metavar="CATEGORY",
        help=f"politics, sports, crypto, … Default: {OVERALL}.",
    )
    @click.option("--by", type=click.Choice(SORTS), help="What to rank by. Default: pnl.")
    @click.option(
        "--top",
        type=click.IntRange(1, MOST),
        metavar="N",
        default=100,
        show_default=True,
        help="How many wallets.",
    )
    @click.option(
        "--market",
        metavar="SLUG",
        help="The holders of this market: the slug in its URL.",
    )
    @click.option("--winners", is_flag=True, help="The biggest single wins, not the leaderboard.")
    @click.option("--add", "adds", is_flag=True, help="Add those that are not in `traders` yet.")
    @as_json
    def discover(
        *,
        window: str | None,
        category: str | None,
        by: str | None,
        top: int,
        market: str | None,
        winners: bool,
        adds: bool,
        as_json: bool,
    ) -> None:
        """Find wallets on the source's boards, without a list.

        Prints those that are not in `traders` yet. Nothing is changed without --add. Exit code 1 if
        the board is empty.
        """
        with one_line_errors():
            asked = _asked(window, category, by, market, top, winners=winners)
            chosen = settings()
            board = _read(chosen, asked)
            known = _known(chosen)
            new = [entry for entry in board.entries if entry.wallet not in known]
            added = add(chosen, [entry.wallet for entry in new]) if adds and new else 0
        if as_json:
            click.echo(json.dumps(_json(board, known, added if adds else None)))
        else:
            _print(board, new, added if adds else None)
        sys.exit(0 if board.entries else 1)

    return discover


def _asked(
    window: str | None,
    category: str | None,
    by: str | None,
    market: str | None,
    top: int,
    *,
    winners: bool,
) -> Asked:
    """What the options ask for; raises ConfigurationError for those that exclude each other."""
    if market is not None and (winners or window or category or by):
        raise ConfigurationError(
            "--market asks for the holders of a market, who have no window, no category and no"
            " other order: leave out --window, --category, --by and --winners"
        )
    if market is not None:
        return Asked(kind="holders", market=market, top=top)
    kind = "winners" if winners else "leaderboard"
    return asked_of(window or "week", by or "pnl", category or OVERALL, top, kind=kind)


def _read(chosen: Settings, asked: Asked) -> Board:
    """The board; asked while no fetch of this deployment runs, so that the budget holds."""
    with _turn(chosen) as permit:
        source = source_resource(chosen).process_config_and_initialize()
        return read_board(asked, source.boards(Progress(), permit), permit.check)


@contextmanager
def _turn(chosen: Settings) -> Iterator[Permit]:
    """Holds the lock on the source. Where no deployment is yet, there is none, and none is made."""
    if chosen.instance == "files" and not Path(chosen.home).exists():
        yield Permit(lambda: None, float("inf"))
        return
    needs = Needs.WORK if chosen.instance == "ephemeral" else Needs.NOTHING
    with (
        open_instance(chosen, needs) as instance,
        alone(instance, this_process("wallets discover"), SOURCE, _say_waiting) as held,
    ):
        yield Permit(held.lock.check, held.idle)


def _say_waiting(text: str) -> None:
    if text:
        say(text)


def _known(chosen: Settings) -> Collection[str]:
    """The wallets in `traders`."""
    return frozenset(sort_out(open_warehouse(chosen, "traders").traders())[0])


def _print(board: Board, new: Sequence[Entry], added: int | None) -> None:
    """What is new on standard output, a line each; the rest on standard error."""
    if not board.entries:
        say(empty(board.asked))
        return
    for line in _table(board, new):
        click.echo(line)
    for line in _notes(board, len(new), added):
        say(line)


def _table(board: Board, new: Sequence[Entry]) -> Iterator[str]:
    """The new wallets, a line each below a heading; no column is wider than it has to be."""
    amount = "shares held" if board.asked.kind == "holders" else "volume in shares"
    rows = [
        (
            str(entry.rank),
            entry.wallet,
            _number(entry.pnl, 2),
            _number(entry.volume if entry.shares is None else entry.shares, 0),
            entry.shown,
        )
        for entry in new
    ]
    if rows:
        rows.insert(0, ("rank", f"{'wallet':<{_ADDRESS}}", "PnL in USDC", amount, "name"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for *cells, name in rows:
        columns = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
        yield "  ".join([*columns, name]).rstrip()


def _notes(board: Board, new: int, added: int | None) -> Iterator[str]:
    found = len(board.entries)
    yield f"{board.asked.title}: {counted(found, 'wallet')}, {new:,} of them not in `traders` yet"
    yield board.depth
    if board.repeated and board.asked.kind == "leaderboard":
        yield (
            f"{counted(board.repeated, 'row')} named a wallet again: the board was refreshed while"
            " it was read, and a few wallets may have been missed. Run it again to see them"
        )
    yield from refusals(board.refused, " on the board")
    if added is not None:
        if added < new:
            yield (
                f"{new - added:,} of them were not added, because `polycopy wallets remove` has"
                " removed them: `polycopy wallets add` collects them again"
            )
        yield f"{counted(added, 'wallet')} added" + (". Next: `polycopy backfill`" if added else "")
    elif new:
        yield "Nothing was changed. To add them, give the same command with --add"


def _number(value: float | None, digits: int) -> str:
    """A number with thousands separated; a dash for one that is unavailable."""
    return "-" if value is None else f"{value:,.{digits}f}"


def _json(board: Board, known: Collection[str], added: int | None) -> dict[str, object]:
    asked = board.asked
    holders = asked.kind == "holders"
    return {
        "board": asked.kind,
        "window": None if holders else asked.window,
        "category": None if holders else asked.category,
        "by": None if holders else asked.by,
        "market": asked.market or None,
        "top": asked.top,
        "ended": board.ended,
        "rows": board.rows,
        "repeated": board.repeated,
        "refused": list(board.refused),
        "requests": board.requests,
        "new": sum(entry.wallet not in known for entry in board.entries),
        "added": added,
        "wallets": [
            {
                "rank": entry.rank,
                "wallet": entry.wallet,
                "name": entry.name,
                "pnl_usdc": entry.pnl,
                "volume_shares": entry.volume,
                "held_shares": entry.shares,
                "known": entry.wallet in known,
            }
            for entry in board.entries
        ],
    }
