"""A walk over the pages of a board.

A page's cursor hides an offset, and the board is computed again now and then. So a walk may meet a
wallet twice, or miss one: wallets are taken once, and nothing proves that all were met. Only a
broken walk is an error: a cursor that comes back, pages without an end.
"""

from collections.abc import Iterable, Sequence

import msgspec

from polycopy_assets.boards.board import MOST_NAME, Asked, Board, Entry
from polycopy_assets.errors import ContractBroken, InvalidWallet
from polycopy_assets.text import quoted
from polycopy_assets.trades.wallet import parse_wallet

MOST_PAGES = 250
"""Pages of a walk: 10,000 holders are 100 pages."""

MOST_EMPTY = 3
"""Pages in a row without a new row, while more are promised: then the walk gets nowhere. New rows
need not be new wallets: a page of wins may have the wallets of the page before."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row as served: `group` is the outcome's token where a page has several lists."""

    wallet: str
    rank: int
    name: str = ""
    pnl: float | None = None
    volume: float | None = None
    shares: float | None = None
    group: str = ""


class BoardPage(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: `date` is the source's clock, epoch seconds; `requests` include retries."""

    rows: Sequence[Row]
    cursor: str | None
    requests: int
    date: float | None


class Walk:
    """Takes the pages of a board one after the other; `cursor` is the next one."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._best: dict[str, Entry] = {}
        self._seen: set[str] = set()
        self._met: set[tuple[str, int, str]] = set()
        self._groups: dict[str, int] = {}
        self._refused: list[str] = []
        self._rows = self._pages = self._requests = self._empty = 0
        self._at: float | None = None
        self._exhausted = False
        self.cursor: str | None = None

    @property
    def done(self) -> bool:
        """Whether no more pages are needed, or there are none."""
        return self._exhausted or (self._pages > 0 and self._enough())

    def add(self, page: BoardPage) -> None:
        """Takes the next page; raises ContractBroken if the walk cannot end."""
        self._pages += 1
        self._requests += page.requests
        if self._pages == 1:
            self._at = page.date
        known = len(self._met)
        for row in page.rows:
            self._take(row)
        self._empty = 0 if len(self._met) > known else self._empty + 1
        self._exhausted = page.cursor is None
        if page.cursor is None:
            return
        if page.cursor in self._seen:
            raise ContractBroken(
                f"{self._asked.title}: the cursor of page {self._pages} is that of an earlier page"
            )
        if self._empty >= MOST_EMPTY or self._pages >= MOST_PAGES:
            raise ContractBroken(
                f"{self._asked.title}: page {self._pages} promises more, and {self._empty} pages in"
                " a row had no row that was not there before"
            )
        self._seen.add(page.cursor)
        self.cursor = page.cursor

    def board(self) -> Board:
        """What was found, at most as many wallets as were asked for."""
        entries = self._ranked()
        top = self._asked.top
        return Board(
            asked=self._asked,
            entries=tuple(entries[:top]),
            rows=self._rows,
            repeated=self._rows - len(self._best) - len(self._refused),
            refused=tuple(self._refused),
            ended=self._exhausted and len(entries) <= top,
            pages=self._pages,
            requests=self._requests,
            at=self._at,
        )

    def _enough(self) -> bool:
        """Whether the first `top` wallets are known.

        Each list of holders is sorted by itself: the first of all are known when each list that
        goes on has given as many as are asked for.
        """
        if self._asked.kind == "holders":
            return max(self._groups.values(), default=0) >= self._asked.top
        return len(self._best) >= self._asked.top

    def _take(self, row: Row) -> None:
        self._rows += 1
        self._met.add((row.wallet, row.rank, row.group))
        self._groups[row.group] = self._groups.get(row.group, 0) + 1
        try:
            wallet = parse_wallet(row.wallet)
        except InvalidWallet:
            self._refused.append(row.wallet)
            return
        before = self._best.get(wallet)
        if before is None or _better(row, before):
            self._best[wallet] = Entry(
                rank=row.rank,
                wallet=wallet,
                name=row.name[:MOST_NAME],
                pnl=row.pnl,
                volume=row.volume,
                shares=row.shares,
            )

    def _ranked(self) -> list[Entry]:
        if self._asked.kind == "holders":
            return list(_by_shares(self._best.values()))
        return sorted(self._best.values(), key=lambda entry: (entry.rank, entry.wallet))


def _better(row: Row, than: Entry) -> bool:
    if row.shares is not None:
        return row.shares > (than.shares or 0.0)
    return row.rank < than.rank


def _by_shares(entries: Iterable[Entry]) -> Iterable[Entry]:
    """Holders of all outcomes in one order: who holds most is first."""
    ordered = sorted(entries, key=lambda entry: (-(entry.shares or 0.0), entry.wallet))
    for rank, entry in enumerate(ordered, start=1):
        yield msgspec.structs.replace(entry, rank=rank)


def empty(asked: Asked) -> str:
    """What to say of a board without a wallet: the API does not refuse an unknown category."""
    if asked.kind == "holders":
        return f"Nobody holds a share of {quoted(asked.market)}."
    return (
        f"The board is empty ({asked.title}). The source answers a category that it does not know"
        " with an empty board: is it right?"
    )
