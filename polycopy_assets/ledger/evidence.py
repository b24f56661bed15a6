"""Evidence: whether the old job's completion mark of a wallet can be trusted, and until when."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import msgspec

from polycopy_assets.ledger.facts import Checkpoint, Facts, OldFile
from polycopy_assets.text import counted, quoted
from polycopy_assets.trades.interval import BEGINNING

MARGIN = 86_400
"""Seconds before `processed_at` for which an old file may be incomplete.

The mark was written after the fetch, so trades of its last minutes or hours may be missing; and in
local time, which can be fourteen hours ahead of UTC. Times in the file may be ahead as well, but
not by more.
"""


class Believed(msgspec.Struct, frozen=True):
    """The file holds all trades that the old job was served before `until` (epoch seconds)."""

    file: OldFile
    until: int


class Empty(msgspec.Struct, frozen=True):
    """The checkpoint says that there are no trades, and no file contradicts it."""


class Unread(msgspec.Struct, frozen=True):
    """Nothing speaks against the file so far; it has to be read."""

    file: OldFile


class Refuted(msgspec.Struct, frozen=True):
    """Marked complete, but the evidence contradicts it; `why` says how."""

    why: str


Evidence = Believed | Empty | Unread | Refuted


def marked_complete(facts: Facts) -> bool:
    """Whether the checkpoint says that the wallet is complete."""
    return any(tick.completed for tick in facts.ticks)


def evidence(facts: Facts, now: int) -> Evidence:
    """Whether a wallet's completion mark can be trusted; `now` in epoch seconds.

    The checkpoint's rows for one wallet may disagree: one row that the file confirms is enough.
    """
    return next(_evidence(facts, now))


def _evidence(facts: Facts, now: int) -> Iterator[Evidence]:
    """All evidence about the mark; the first item counts."""
    ticks = [tick for tick in facts.ticks if tick.completed]
    no_rows = all(file.size == 0 or file.rows == 0 for file in facts.old_files)
    if no_rows and {tick.trade_count for tick in ticks} - {None} == {0}:
        yield Empty()
    if not any(tick.upload_successful for tick in ticks):
        yield Refuted("the checkpoint does not say that its file was uploaded")
    if not facts.old_files:
        yield Refuted(f"its file is not in the store, {_counted(ticks)}")
        return
    file, *others = facts.old_files
    if others:
        names = ", ".join(file.name for file in facts.old_files)
        yield Refuted(f"it has {counted(len(facts.old_files), 'file')}: {names}")
    own = [tick for tick in ticks if tick.upload_successful and _names(tick, facts.wallet)]
    if not own:
        yield Refuted(f"the checkpoint names another file: {quoted(ticks[0].gcs_file)}")
    yield from _of_file(file, own, now)


def _of_file(file: OldFile, ticks: list[Checkpoint], now: int) -> Iterator[Evidence]:
    if file.problem:
        yield Refuted(f"{file.name}: {file.problem}")
    if file.rows is None:
        yield Unread(file)
    borne_out = [tick for tick in ticks if tick.trade_count in {None, file.rows}]
    if not borne_out:
        yield Refuted(f"{file.name} has {counted(file.rows or 0, 'row')}, {_counted(ticks)}")
    if not file.rows:
        yield Empty()
    if (file.last or BEGINNING) > now + MARGIN:
        yield Refuted(f"{file.name} has a trade of {as_text(file.last or 0)}, in the future")
    until = _until(borne_out, file, now)
    if until <= BEGINNING:
        yield Refuted("its processed_at is earlier than all trades")
    yield Believed(file, until)


def _until(ticks: list[Checkpoint], file: OldFile, now: int) -> int:
    """The earliest of the times at which the file may have been fetched, minus the margin.

    A date in the future is ignored. Without a date it is the newest trade: a fetch that got this
    trade also got all earlier ones.
    """
    moments = [_seconds(tick.processed_at) for tick in ticks if tick.processed_at is not None]
    dates = [moment for moment in moments if moment <= now]
    return min([*(dates or [file.last or BEGINNING]), now]) - MARGIN


def _seconds(moment: datetime) -> int:
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def as_text(seconds: int) -> str:
    """A time (epoch seconds) as people read it, UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%F %T}"


def _names(tick: Checkpoint, wallet: str) -> bool:
    """Whether the tick names the wallet's file; a tick without a file name counts as naming it."""
    name = (tick.gcs_file or "").strip().rsplit("/", 1)[-1]
    return not name or name.lower() == f"{wallet}.jsonl"


def _counted(ticks: Iterable[Checkpoint]) -> str:
    known = sorted({tick.trade_count for tick in ticks if tick.trade_count is not None})
    if not known:
        return "the checkpoint has no count"
    return f"the checkpoint counted {' and '.join(map(str, known))}"
