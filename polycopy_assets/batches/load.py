"""Loading: the batches that the table lacks, in order."""

from collections.abc import Collection, Iterator, Sequence

from polycopy_assets.batches.manifests import wrong_files
from polycopy_assets.errors import BatchBroken
from polycopy_assets.store.base import Store
from polycopy_assets.store.identity import read_id
from polycopy_assets.trades.batch import Manifest, current
from polycopy_assets.trades.batch_rules import believed
from polycopy_assets.warehouse.base import Loaded, Warehouse


def unloaded(manifests: Sequence[Manifest], loaded: Collection[int]) -> list[Manifest]:
    """The batches to load: the first missing one and all later ones.

    A later batch may replace what an earlier one claims, so batches are loaded strictly in order. A
    batch that lacks columns is never loaded: it is combined again. Numbers in `loaded` that are far
    beyond all batches are not trusted.
    """
    loadable = current(manifests)
    there = believed(loaded, max((item.batch for item in manifests), default=0))
    missing = [item.batch for item in loadable if item.batch not in there]
    return [item for item in loadable if missing and item.batch >= min(missing)]


def load(
    warehouse: Warehouse, manifests: Sequence[Manifest], store: Store
) -> Iterator[tuple[Manifest, Loaded]]:
    """Loads what the table lacks, and yields each batch when the table holds it.

    Raises BatchBroken at the first batch whose files are not what its manifest says: later batches
    must not be loaded before it is set aside.
    """
    own = read_id(store)
    for manifest in unloaded(manifests, warehouse.loaded_batches()):
        wrong = wrong_files(store, manifest)
        if wrong:
            raise BatchBroken(manifest.batch, wrong)
        yield manifest, warehouse.load(manifest, store, own)
