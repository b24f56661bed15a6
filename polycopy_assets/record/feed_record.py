"""The record of one feed: what Dagster's event log says of its wallets."""

from collections.abc import Collection, Iterable, Iterator, Mapping

import dagster as dg
from dagster import AssetRecordsFilter, DagsterEventType

from polycopy_assets.errors import PolycopyError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.record import materializations
from polycopy_assets.record.asset_keys import AssetKeys, asset_keys
from polycopy_assets.record.materializations import DATA_VERSION_TAG, Record
from polycopy_assets.trades.segment import rows_in_version

_PAGE = 500
_NAMED = 500
"""The most wallets that are named in a query; for more, it asks for all."""

_RECORDED = DagsterEventType.ASSET_MATERIALIZATION


class FeedRecord:
    """What `instance` has recorded of `feed`: whoever is given one works for that feed.

    Two feeds do not see each other's records. The wallets, which are the partitions, are those of
    all feeds (`record.partitions`).
    """

    def __init__(self, instance: dg.DagsterInstance, feed: Feed) -> None:
        self.instance = instance
        self.feed = feed
        self.keys: AssetKeys = asset_keys(feed)

    def versions(self, wallets: Collection[str] | None = None) -> dict[str, str]:
        """The data version of every wallet that is complete by the record; one query.

        With `wallets` only of those among them.
        """
        found = self._latest_versions(wallets).items()
        return {
            wallet: version for wallet, version in found if rows_in_version(version) is not None
        }

    def revoked(self) -> dict[str, int]:
        """The wallets whose record was revoked and that have not been fetched again; one query.

        Each with the time (epoch seconds) until which the revoked record covered it.
        """
        found = self._latest_versions().items()
        times = ((wallet, materializations.revoked_until(version)) for wallet, version in found)
        return {wallet: until for wallet, until in times if until is not None}

    def _latest_versions(self, wallets: Collection[str] | None = None) -> dict[str, str]:
        tags = self.instance.event_log_storage.get_latest_tags_by_partition(
            self.keys.wallets,
            _RECORDED,
            tag_keys=[DATA_VERSION_TAG],
            asset_partitions=None if wallets is None else list(wallets),
        )
        return {wallet: tag.get(DATA_VERSION_TAG, "") for wallet, tag in tags.items()}

    def is_empty(self) -> bool:
        """Whether no wallet was ever recorded here."""
        return not self.latest_ids()

    def latest(self, wallet: str) -> Record | None:
        """The latest record of one wallet, if it is one of ours.

        Raises PolycopyError if it cannot be read.
        """
        found = self.instance.fetch_materializations(
            AssetRecordsFilter(asset_key=self.keys.wallets, asset_partitions=[wallet]), limit=1
        ).records
        event = found[0].asset_materialization if found else None
        if event is None or rows_in_version((event.tags or {}).get(DATA_VERSION_TAG, "")) is None:
            return None
        return materializations.read(self.feed, wallet, found[0].run_id, event)

    def latest_or_none(self, wallet: str) -> Record | None:
        """The latest record of one wallet; also None if it cannot be read."""
        try:
            return self.latest(wallet)
        except PolycopyError:
            return None

    def read(
        self, wallets: Collection[str] | None = None
    ) -> Iterator[tuple[str, Record | PolycopyError]]:
        """The latest record of each of `wallets` that has one, read in pages.

        None: of every wallet that is complete by the record. Or what is wrong with it: it names no
        segments, or its coverage has a gap.
        """
        for item in self._latest(self.versions() if wallets is None else wallets):
            event = item.asset_materialization
            if event is not None and event.partition is not None:
                wallet = event.partition
                try:
                    yield wallet, materializations.read(self.feed, wallet, item.run_id, event)
                except PolycopyError as error:
                    yield wallet, error

    def recorded_by(self, run_ids: Iterable[str]) -> set[str]:
        """The wallets whose latest record was written by one of the given runs.

        An event is written to its run's log first, and then to the record. If a run is killed in
        between, only its log has the event, so only the record counts.
        """
        runs = set(run_ids)
        noted: set[str] = set()
        for run_id in runs:
            for entry in self.instance.all_logs(run_id, of_type=_RECORDED):
                event = entry.dagster_event
                if event is not None and event.asset_key == self.keys.wallets and event.partition:
                    noted.add(event.partition)
        return {
            str(item.partition_key)
            for item in self._latest(noted)
            if item.run_id in runs and item.partition_key
        }

    def latest_ids(self, wallets: Collection[str] | None = None) -> Mapping[str, int]:
        """The id of the latest materialization of every wallet, or of each of `wallets`.

        One query.
        """
        return self.instance.event_log_storage.get_latest_storage_id_by_partition(
            self.keys.wallets,
            _RECORDED,
            partitions=set(wallets) if wallets is not None else None,
        )

    # -- notes ----------------------------------------------------------------------------------

    def note(self, name: str) -> str:
        """What the instance keeps for the feed under that name, or nothing; one small read."""
        key = f"{self.feed.notes}{name}"
        return self.instance.daemon_cursor_storage.get_cursor_values({key}).get(key, "")

    def set_notes(self, notes: Mapping[str, str]) -> None:
        """Keeps the texts of `notes` by their names, in one write."""
        self.instance.daemon_cursor_storage.set_cursor_values(
            {f"{self.feed.notes}{name}": text for name, text in notes.items()}
        )

    def _latest(self, wallets: Collection[str]) -> Iterator[dg.EventLogRecord]:
        """The latest materialization of each of `wallets` that has one, read in pages."""
        if not wallets:
            return
        latest = self.latest_ids(wallets if len(wallets) <= _NAMED else None)
        ids = sorted(latest[wallet] for wallet in wallets if wallet in latest)
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            yield from self.instance.fetch_materializations(
                AssetRecordsFilter(asset_key=self.keys.wallets, storage_ids=page), limit=_PAGE
            ).records
