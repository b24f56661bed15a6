"""Reading a board of the source, for the command and for the asset."""

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, closing
from typing import Protocol

from polycopy_assets.boards.board import Asked, Board
from polycopy_assets.fetch.iterate_async import iterate_async


class BoardSource(Protocol):
    """A source that has boards."""

    def walk(self, asked: Asked) -> AsyncIterator[Board]:
        """Yields, after each page, what was found so far; raises SourceError."""
        ...


OpenBoards = Callable[[], AbstractAsyncContextManager[BoardSource]]


def read_board(
    asked: Asked, open_boards: OpenBoards, check: Callable[[], None] = lambda: None
) -> Board:
    """The board that is `asked` for, walked to its end or until enough wallets are known.

    `check` is called while it waits, and may raise Stopped. Raises SourceError, and
    ConfigurationError if the board cannot be asked for.
    """
    found: Board | None = None
    with closing(_walked(asked, open_boards, check)) as pages:
        for board in pages:
            found = board
    if found is None:
        raise AssertionError("a walk without a page")
    return found


def _walked(
    asked: Asked, open_boards: OpenBoards, check: Callable[[], None]
) -> Generator[Board, None, None]:
    """After each page, what was found so far."""

    async def boards() -> AsyncIterator[Board]:
        async with open_boards() as source:
            async for board in source.walk(asked):
                yield board

    yield from iterate_async(boards, ahead=1, check=check)
