"""A snapshot: one board on one UTC day, as an object of the store that is never rewritten.

`leaderboard/{day}/{window}-{by}-{category}.json.gz`: gzip of one JSON object, see `Snapshot`. The
name says which board and which day it is, so that a second snapshot of the same day has the same
name: the first one stays.
"""

import gzip
import re
import zlib
from datetime import UTC, date, datetime
from typing import Annotated, NamedTuple

import msgspec

from polycopy_assets.boards.board import SORTS, WINDOWS, Asked, Board, By, Entry, Window
from polycopy_assets.errors import ContractBroken, ObjectUnreadable
from polycopy_assets.text import said_by
from polycopy_assets.trades.segment import LATEST

PREFIX = "leaderboard/"
VERSION = 1
_NAME = re.compile(
    rf"{PREFIX}(\d{{4}}-\d\d-\d\d)/({'|'.join(WINDOWS)})-({'|'.join(SORTS)})"
    r"-([a-z0-9][a-z0-9_-]{0,39})\.json\.gz"
)


class Key(NamedTuple):
    """Which board, and on which UTC day."""

    day: date
    window: str
    by: str
    category: str

    @property
    def name(self) -> str:
        """The name of its object."""
        return f"{PREFIX}{self.day.isoformat()}/{self.window}-{self.by}-{self.category}.json.gz"


class _Version(msgspec.Struct, frozen=True):
    version: int


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The wallets of a board at one moment.

    `at` is the source's clock, epoch seconds; `top` how many wallets were asked for, and `ended`
    whether the board had no more than these.
    """

    version: int = VERSION
    at: Annotated[int, msgspec.Meta(ge=0, le=LATEST)]
    window: Window
    by: By
    category: str
    top: int
    ended: bool
    entries: tuple[Entry, ...]

    @property
    def key(self) -> Key:
        """Which snapshot it is."""
        return Key(day_of(self.at), self.window, self.by, self.category)


def day_of(at: float) -> date:
    """The UTC day of a time in epoch seconds."""
    return datetime.fromtimestamp(at, UTC).date()


def snapshot_of(board: Board) -> Snapshot:
    """The snapshot of a board that was walked.

    Raises ContractBroken if it is empty, or if the source did not say what time it was.
    """
    asked = board.asked
    if not board.entries:
        raise ContractBroken(
            f"{asked.title}: the board is empty, which no board of the source's is; an unknown"
            " category has an empty one. No snapshot was taken"
        )
    if board.at is None:
        raise ContractBroken(f"{asked.title}: the answer has no `Date`, so its day is unknown")
    return Snapshot(
        at=int(board.at),
        window=asked.window,
        by=asked.by,
        category=asked.category,
        top=asked.top,
        ended=board.ended,
        entries=board.entries,
    )


def key_of(asked: Asked, at: float) -> Key:
    """The key that a snapshot of a board has at a time in epoch seconds."""
    return Key(day_of(at), asked.window, asked.by, asked.category)


def parse_name(name: str) -> Key | None:
    """Which snapshot an object's name is; None for any other object."""
    found = _NAME.fullmatch(name)
    if not found:
        return None
    try:
        return Key(date.fromisoformat(found[1]), found[2], found[3], found[4])
    except ValueError:
        return None  # the 31st of February


def pack(snapshot: Snapshot) -> bytes:
    """The object's bytes; the same for the same snapshot."""
    return gzip.compress(msgspec.json.encode(snapshot), mtime=0)


def unpack(data: bytes, key: Key) -> Snapshot:
    """The snapshot in an object's bytes.

    Raises ContractBroken if it is damaged, or another one; ObjectUnreadable if a newer version of
    polycopy has written it.
    """
    try:
        text = gzip.decompress(data)
        if (version := msgspec.json.decode(text, type=_Version).version) > VERSION:
            raise ObjectUnreadable(
                key.name, f"has version {version}, which a newer polycopy wrote: update this one"
            )
        found = msgspec.json.decode(text, type=Snapshot)
    except (OSError, EOFError, zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractBroken(f"{key.name} is damaged: {said_by(error)}") from error
    if found.key != key:
        raise ContractBroken(f"{key.name} holds another snapshot: {found.key.name}")
    return found
