"""A feed's unfinished full refetches, noted in the instance: reading the note costs no listing.

A fetch relies on the marker in the store (`fetch/refetch.py`). The note serves to decide what to
fetch, and to inform people: it is written before the marker and removed after it. The fetch that
holds the lock on the source writes it, and an audit that finds a marker without a note.
"""

from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum

import msgspec

from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.instance import file_lock

_NOTE = "refetching"


class State(StrEnum):
    """The state of a full refetch."""

    BEGUN = "begun"
    """The wallet has to be fetched from the beginning, even if there is no marker yet."""

    MARKED = "marked"
    """Only the marker says what is left to replace; without a marker, nothing."""

    @classmethod
    def _missing_(cls, value: object) -> "State":  # noqa: ARG003 - whatever it is
        """A word of another version, `value`: everything is fetched, as nothing is certain."""
        return cls.BEGUN


def unfinished(record: FeedRecord) -> dict[str, State]:
    """The wallets whose full refetch has not ended, and its state; one small read."""
    text = record.note(_NOTE)
    return msgspec.json.decode(text, type=dict[str, State]) if text else {}


def note(record: FeedRecord, wallet: str, state: State) -> None:
    """Notes the state of the full refetch of `wallet`; can be called from any thread."""
    with file_lock(record.instance.root_directory):
        _write(record, {**unfinished(record), wallet: state})


def note_marked(record: FeedRecord, wallets: Iterable[str]) -> None:
    """Notes `wallets` as State.MARKED, in one write; those already noted keep their state."""
    with file_lock(record.instance.root_directory):
        _write(record, {**dict.fromkeys(wallets, State.MARKED), **unfinished(record)})


def end(record: FeedRecord, wallet: str) -> None:
    """Notes that the full refetch of `wallet` has ended; no error if none was noted."""
    with file_lock(record.instance.root_directory):
        left = unfinished(record)
        if left.pop(wallet, None) is not None:
            _write(record, left)


def complete(record: FeedRecord, wallets: Collection[str] | None = None) -> dict[str, str]:
    """The data version of every wallet, or of each of `wallets`, that needs no fetch.

    They are recorded, and their full refetch, if any, has ended.
    """
    left = unfinished(record)
    found = record.versions(wallets)
    return {wallet: version for wallet, version in found.items() if wallet not in left}


def _write(record: FeedRecord, states: Mapping[str, State]) -> None:
    record.set_notes({_NOTE: msgspec.json.encode(states).decode()})
