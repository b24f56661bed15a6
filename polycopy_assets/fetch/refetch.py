"""A full refetch: a wallet from the beginning, while what it has stays valid until it is replaced.

A marker in the wallet's folder names the segments that are to be replaced. While it is there they
do not count as stored, so that the walk asks for everything anew; they stay readable, and recorded,
until the new segments are. Then they go, and the marker last: whoever is killed anywhere in between
leaves a marker, and the next fetch of the wallet goes on from there.
"""

from collections.abc import Collection

import msgspec

from polycopy_assets.errors import ObjectExists, StoreError
from polycopy_assets.store.base import Store
from polycopy_assets.trades.segment import wallet_prefix

MARKER = "refetch.json"
LEAST_SHARE = 0.8
"""New segments are cut at this share of the usual size, or above: as chance will have it.

Otherwise a whale that did not trade since would be cut at the same seconds again, and a new segment
could not be told from the old one by its name.
"""


def marker_name(wallet: str) -> str:
    """Where the marker of a wallet lies."""
    return f"{wallet_prefix(wallet)}{MARKER}"


def begin(store: Store, wallet: str, names: Collection[str]) -> frozenset[str]:
    """Marks the segments `names` as to be replaced; those that the marker names."""
    try:
        store.create(marker_name(wallet), msgspec.json.encode(sorted(names)))
    except ObjectExists:
        return under_way(store, wallet)  # another run was here first
    return frozenset(names)


def under_way(store: Store, wallet: str) -> frozenset[str]:
    """The segments that the marker names; raises StoreError if it cannot be read."""
    try:
        return frozenset(msgspec.json.decode(store.read(marker_name(wallet)), type=list[str]))
    except msgspec.DecodeError as error:
        raise StoreError(f"{store.uri(marker_name(wallet))} is damaged: {error}") from error


def finish(store: Store, wallet: str, superseded: Collection[str]) -> None:
    """Removes what was replaced; to be called when the new segments are recorded."""
    for name in superseded:
        store.delete(name)
    store.delete(marker_name(wallet))
