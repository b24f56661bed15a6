"""Full refetches that have begun and not ended: noted in the instance, which costs no listing.

The marker in the store (`fetch/refetch.py`) is what a fetch goes by. The note is there for whoever
decides what to fetch, and for people: it is written before the marker, and goes after it. It lies
where the turns have their notes. One fetch at a time writes it (`turns.py`).
"""

from collections.abc import Collection, Iterable, Mapping

import dagster as dg
import msgspec

from polycopy_assets import record
from polycopy_assets.instance import alone

_KEY = "polycopy/refetching"
BEGUN = "begun"
"""The wallet is to be fetched from the beginning; also if there is no marker yet."""

MARKED = "marked"
"""What is left to replace, the marker alone tells; nothing, if there is none."""


def unfinished(instance: dg.DagsterInstance) -> dict[str, str]:
    """The wallets whose full refetch has not ended, and how far it is; one small read."""
    text = instance.daemon_cursor_storage.get_cursor_values({_KEY}).get(_KEY)
    return msgspec.json.decode(text, type=dict[str, str]) if text else {}


def note(instance: dg.DagsterInstance, wallet: str, state: str) -> None:
    """Notes how far the full refetch of `wallet` is; can be called from any thread."""
    with alone(instance.root_directory):
        _write(instance, {**unfinished(instance), wallet: state})


def note_marked(instance: dg.DagsterInstance, wallets: Iterable[str]) -> None:
    """Notes `wallets` as MARKED, in one write; those whose full refetch was begun stay so."""
    with alone(instance.root_directory):
        _write(instance, {**dict.fromkeys(wallets, MARKED), **unfinished(instance)})


def end(instance: dg.DagsterInstance, wallet: str) -> None:
    """Notes that the full refetch of `wallet` has ended; no error if none was noted."""
    with alone(instance.root_directory):
        left = unfinished(instance)
        if left.pop(wallet, None) is not None:
            _write(instance, left)


def complete(
    instance: dg.DagsterInstance, wallets: Collection[str] | None = None
) -> dict[str, str]:
    """The data version of every wallet, or of each of `wallets`, for which nothing is to be done.

    Those are recorded, and their full refetch, if there was one, has ended.
    """
    left = unfinished(instance)
    found = record.versions(instance, wallets)
    return {wallet: version for wallet, version in found.items() if wallet not in left}


def _write(instance: dg.DagsterInstance, states: Mapping[str, str]) -> None:
    instance.daemon_cursor_storage.set_cursor_values({_KEY: msgspec.json.encode(states).decode()})
