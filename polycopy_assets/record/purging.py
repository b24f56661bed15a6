"""The record of wallets whose rows are deleted: revoked, so that it claims nothing."""

from collections.abc import Collection

from polycopy_assets.record import materializations, refetching
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.private import runless
from polycopy_assets.trades.interval import BEGINNING

_WHY = "the wallet was removed, and its {} are deleted"


def revoke_records(record: FeedRecord, wallets: Collection[str]) -> int:
    """Revokes the records of `wallets` that have one, and ends their full refetches; how many."""
    why = _WHY.format(record.feed.rows)
    recorded = sorted(record.versions(wallets))
    events = [
        materializations.revocation(record.feed, wallet, why, BEGINNING) for wallet in recorded
    ]
    for _ in runless.write(record.instance, events):
        pass
    for wallet in refetching.unfinished(record).keys() & set(wallets):
        refetching.end(record, wallet)
    return len(recorded)
