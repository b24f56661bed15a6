"""The record as the pipeline reads it."""

from collections.abc import Collection, Iterator, Mapping

import dagster as dg

from polycopy_assets.errors import PolycopyError
from polycopy_assets.record import materializations
from polycopy_assets.record.materializations import Record


class DagsterRecords:
    """The record that `instance` keeps."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def versions(self, wallets: Collection[str] | None = None) -> Mapping[str, str]:
        """The data version of every complete wallet, or of those of `wallets`; one query."""
        return materializations.versions(self._instance, wallets)

    def read(
        self, wallets: Collection[str] | None = None
    ) -> Iterator[tuple[str, Record | PolycopyError]]:
        """The latest record of each of `wallets` (None: of every wallet), or what is wrong with it.

        Read in pages.
        """
        if wallets is None:
            yield from materializations.ledger(self._instance)
        else:
            yield from materializations.read_all(self._instance, wallets)
