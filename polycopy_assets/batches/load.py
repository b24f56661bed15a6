"""Loading: the batches that the table lacks, in order."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from polycopy_assets.batches.manifest_files import Broken, read_manifest, wrong_files
from polycopy_assets.batches.manifests import Batches
from polycopy_assets.errors import BatchBroken, ObjectLost
from polycopy_assets.store.base import Stored
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.identity import read_id
from polycopy_assets.system.step import Step
from polycopy_assets.trades.batch import Manifest, Numbered, current
from polycopy_assets.trades.batch_rules import believed
from polycopy_assets.warehouse.feed_table import FeedTable, Held, Loaded

_Numbered = TypeVar("_Numbered", bound=Numbered)


def unloaded(batches: Sequence[_Numbered], loaded: Collection[int], schema: int) -> list[_Numbered]:
    """The batches to load: the first missing one and all later ones.

    `schema` is the version of their feed's columns.

    A later batch may replace what an earlier one claims, so batches are loaded strictly in order. A
    batch that lacks columns is never loaded: it is combined again. Numbers in `loaded` that are far
    beyond all batches are not trusted.
    """
    loadable = current(batches, schema)
    there = believed(loaded, max((item.batch for item in batches), default=0))
    missing = [item.batch for item in loadable if item.batch not in there]
    return [item for item in loadable if missing and item.batch >= min(missing)]


def agreed(held: Held, listed: Mapping[int, Stored]) -> set[int]:
    """The batches that a table holds, if their manifests are those that are `listed` in the store.

    After a store was copied, or lost its last objects, a number can stand for two batches.
    """
    return {
        number
        for number in held.batches
        if (item := listed.get(number)) is None
        or None in {item.crc32c, held.digests.get(number)}
        or item.crc32c == held.digests.get(number)
    }


def load(
    table: FeedTable, batches: Batches, store: FeedStore, step: Step | None = None
) -> Iterator[tuple[Manifest, Loaded]]:
    """Loads what the table lacks, and yields each batch when the table holds it.

    Each manifest is read when it is its turn; `step` shows which batch that is. Raises BatchBroken
    at the first batch whose manifest or files are not what they were: later batches must not be
    loaded before it is set aside.
    """
    own = read_id(store)
    held = agreed(table.held(), batches.listed)
    waiting = unloaded(batches.sound, held, store.feed.schema)
    into = "" if store.feed.bare else f" into {store.feed.table}"
    for place, item in enumerate(waiting, 1):
        if step is not None:
            of = f", {place:,} of {len(waiting):,}" if len(waiting) > 1 else ""
            step.part(f"loading batch {item.batch}{into}{of}", place, len(waiting))
        listed = batches.listed[item.batch]
        try:
            manifest = read_manifest(store, listed)
        except ObjectLost as error:
            raise BatchBroken(item.batch, str(error)) from error
        wrong = manifest.why if isinstance(manifest, Broken) else wrong_files(store, manifest)
        if wrong or isinstance(manifest, Broken):
            raise BatchBroken(item.batch, wrong)
        yield manifest, table.load(manifest, store, own, listed.crc32c)
