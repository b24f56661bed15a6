"""The store's identity: one small object with an id, created with the store and never changed.

It lies beside `trades/` and `combined/`, so that no listing includes it. A copy of the store, or a
restored backup, has the id of the original.
"""

import re
import uuid

import msgspec

from polycopy_assets.errors import ObjectDamaged, ObjectExists, ObjectLost
from polycopy_assets.store.base import Store
from polycopy_assets.text import quoted

NAME = "store-identity.json"
_ID = re.compile(r"[0-9a-f]{32}")


class _Identity(msgspec.Struct, frozen=True):
    id: str


def new_id() -> str:
    """An id that no other store has: 32 hex digits."""
    return uuid.uuid4().hex


def read_id(store: Store) -> str | None:
    """The store's id; None if it has none. One small read, no listing.

    Raises ObjectDamaged if the object is there but holds no id, StoreError if it cannot be read.
    """
    try:
        found = msgspec.json.decode(store.read(NAME), type=_Identity).id
    except ObjectLost:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ObjectDamaged(store.uri(NAME), f"is damaged: {error}") from error
    if not _ID.fullmatch(found):
        raise ObjectDamaged(store.uri(NAME), f"is damaged: {quoted(found)} is no id")
    return found


def make_id(store: Store, wanted: str) -> str:
    """Creates the identity with the id `wanted`; returns the id that the store then has.

    That is a different id if another process was faster.
    """
    try:
        store.create(NAME, msgspec.json.encode(_Identity(wanted)))
    except ObjectExists:
        return read_id(store) or wanted
    return wanted
