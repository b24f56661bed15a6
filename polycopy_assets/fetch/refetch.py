"""A full refetch: a wallet from the beginning, while what it has stays valid until it is replaced.

A marker in the wallet's folder names the segments that are to be replaced. While it is there they
do not count as stored, so that the walk asks for everything anew; they stay readable, and recorded,
until the new segments are. Then they go, and the marker last: whoever is killed anywhere in between
leaves a marker, and the next fetch of the wallet goes on from there.
"""

import re
from collections.abc import Collection

import msgspec

from polycopy_assets.errors import ObjectDamaged, ObjectExists
from polycopy_assets.store.base import Store
from polycopy_assets.trades.segment import parse_name, wallet_prefix

MARKER = "refetch.json"
_NAME = re.compile(r"trades/(0x[0-9a-f]{40})/refetch\.json")
LEAST_SHARE = 0.8
"""New segments are cut at this share of the usual size, or above: as chance will have it.

Otherwise a whale that did not trade since would be cut at the same seconds again, and a new segment
could not be told from the old one by its name.
"""


def marker_name(wallet: str) -> str:
    """Where the marker of a wallet lies."""
    return f"{wallet_prefix(wallet)}{MARKER}"


def parse_marker_name(name: str) -> str | None:
    """The wallet whose marker an object's name is; None if it is no marker's name."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None


def begin(store: Store, wallet: str, names: Collection[str]) -> frozenset[str]:
    """Marks the segments `names` as to be replaced; those that the marker names."""
    try:
        store.create(marker_name(wallet), msgspec.json.encode(sorted(names)))
    except ObjectExists:
        return under_way(store, wallet)  # another run was here first
    return frozenset(names)


def under_way(store: Store, wallet: str) -> frozenset[str]:
    """The segments that the marker names, all of `wallet`.

    Raises ObjectDamaged if it cannot be such a marker, ObjectLost if there is none.
    """
    where = store.uri(marker_name(wallet))
    advice = "`polycopy reconcile --apply` sets it aside"
    try:
        names = msgspec.json.decode(store.read(marker_name(wallet)), type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ObjectDamaged(f"{where} is damaged: {error}; {advice}") from error
    for name in names:
        named = parse_name(name)
        if named is None or named[0] != wallet:
            # Whatever it names is deleted in the end.
            raise ObjectDamaged(
                f"{where} is damaged: {name[:120]!r} is no segment of the wallet; {advice}"
            )
    return frozenset(names)


def finish(store: Store, wallet: str, superseded: Collection[str]) -> None:
    """Removes what was replaced; to be called when the new segments are recorded."""
    for name in superseded:
        store.delete(name)
    store.delete(marker_name(wallet))
