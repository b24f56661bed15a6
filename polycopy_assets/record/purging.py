"""The record of wallets whose trades are deleted: revoked, so that it claims nothing."""

from collections.abc import Collection

import dagster as dg

from polycopy_assets.record import materializations, refetching
from polycopy_assets.record.private import runless
from polycopy_assets.trades.interval import BEGINNING

_WHY = "the wallet was removed, and its trades are deleted"


def revoke_records(instance: dg.DagsterInstance, wallets: Collection[str]) -> int:
    """Revokes the records of `wallets` that have one, and ends their full refetches; how many."""
    recorded = sorted(materializations.versions(instance, wallets))
    events = [materializations.revocation(wallet, _WHY, BEGINNING) for wallet in recorded]
    for _ in runless.write(instance, events):
        pass
    for wallet in refetching.unfinished(instance).keys() & set(wallets):
        refetching.end(instance, wallet)
    return len(recorded)
