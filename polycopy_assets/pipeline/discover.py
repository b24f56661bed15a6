"""Reading a board of the source, for the command and for the asset."""

from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from polycopy_assets.boards.board import Asked, Board
from polycopy_assets.fetch.iterate_async import iterate_async


class BoardSource(Protocol):
    """A source that has boards."""

    async def clock(self) -> float:
        """The source's clock, epoch seconds; one request. Raises SourceError."""
        ...

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

    async def boards() -> AsyncIterator[Board]:
        async with open_boards() as source:
            yield await _whole(source, asked)

    (board,) = iterate_async(boards, ahead=1, check=check)
    return board


def read_boards(
    choose: Callable[[float], Iterable[Asked]],
    open_boards: OpenBoards,
    check: Callable[[], None] = lambda: None,
) -> Generator[Board, None, None]:
    """The boards that `choose` asks for, given the source's clock (epoch seconds).

    All requests are sent by one client, so they share its budget. For the rest as `read_board`.
    """

    async def boards() -> AsyncIterator[Board]:
        async with open_boards() as source:
            for asked in choose(await source.clock()):
                yield await _whole(source, asked)

    yield from iterate_async(boards, ahead=1, check=check)


async def _whole(source: BoardSource, asked: Asked) -> Board:
    found: Board | None = None
    async for board in source.walk(asked):
        found = board
    if found is None:
        raise AssertionError("a walk without a page")
    return found
