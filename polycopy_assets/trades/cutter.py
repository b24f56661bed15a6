"""Cuts a stream of rows, newest first, into segments that never split a second."""

import re

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.page import Row
from polycopy_assets.trades.payload import Packer

SEGMENT_BYTES = 7_500_000
"""Compressed bytes after which a segment ends: 8 MiB minus room for one busy second."""

_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A finished segment on its way to the store: its bytes, and what they hold."""

    span: Interval
    payload: bytes
    rows: int
    first: int | None
    last: int | None


class Cutter:
    """Collects rows of `source`, newest first from `until`; returns drafts at changes of second."""

    def __init__(self, until: int, source: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._source = source
        self._limit = segment_bytes
        self._times: dict[str, int] = {}
        self._open(until)

    def _open(self, until: int) -> None:
        self._until = until
        self._packer = Packer(self._source)
        self._rows = 0
        self._first: int | None = None
        self._last: int | None = None
        self._second: int | None = None
        self._pending: list[bytes] = []
        # A transaction has one time. Only the transactions of this segment and the one before are
        # remembered, so that a whale's do not fill the memory.
        self._times_before = self._times
        self._times = {}

    def add(self, row: Row) -> Draft | None:
        """Takes the next row; returns the segment that it ends, if it ends one."""
        draft = None
        if self._second is not None and row.timestamp != self._second:
            self._close_second()
            if self._packer.size >= self._limit:
                draft = self._draft(self._second)
                self._open(self._second)
        first = self._times_before.get(row.tx_hash) or self._times.setdefault(
            row.tx_hash, row.timestamp
        )
        if first != row.timestamp:
            # If it is not a hash, it may be an echo of the request, such as the key.
            named = row.tx_hash if _HASH.fullmatch(row.tx_hash) else "(its name is no hash)"
            raise ContractBroken(f"transaction {named} has fills at {first} and at {row.timestamp}")
        self._second = row.timestamp
        self._pending.append(row.raw)
        return draft

    def finish(self, start: int) -> Draft:
        """The last segment, down to `start`, all seconds whole; may be empty."""
        if self._pending:
            self._close_second()
        return self._draft(start)

    def salvage(self) -> Draft | None:
        """The complete part if the stream broke off: all but the second that was being read."""
        if not self._rows or self._second is None:
            return None
        self._pending.clear()
        return self._draft(self._second + 1)

    def _close_second(self) -> None:
        data = b"\n".join(self._pending) + b"\n"
        self._packer.add(data)
        self._rows += len(self._pending)
        self._first = self._second
        self._last = self._second if self._last is None else self._last
        self._pending.clear()

    def _draft(self, start: int) -> Draft:
        return Draft(
            span=Interval(start, self._until),
            payload=self._packer.finish(),
            rows=self._rows,
            first=self._first,
            last=self._last,
        )
