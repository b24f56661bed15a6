"""The quarantine: damaged objects are moved there, so that good ones can take their names."""

import uuid

from polycopy_assets.errors import ObjectDamaged, ObjectExists, ObjectLost
from polycopy_assets.store.base import Store, crc32c

QUARANTINE = "quarantine/"
"""Where damaged objects are kept for inspection; no code reads from there."""


def set_aside(store: Store, name: str) -> None:
    """Copies a damaged object to the quarantine, and removes it; no error if it is gone."""
    try:
        data = store.read(name)
    except ObjectLost:
        return
    kept = f"{QUARANTINE}{name}.{crc32c(data)}"
    try:
        store.create(kept, data)
    except (ObjectExists, ObjectDamaged):
        # The quarantine itself can be damaged; the original must be removed all the same.
        store.create(f"{kept}-{uuid.uuid4().hex[:8]}", data)
    store.delete(name)
