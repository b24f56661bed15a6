"""The checks that each feed has."""

import dagster as dg

from polycopy_assets.checks.holdings import no_holding_below_zero
from polycopy_assets.checks.store import store_has_the_record
from polycopy_assets.checks.table import no_duplicate_ids, rows_match_record
from polycopy_assets.checks.wallets import no_contract_breaks, no_wallet_failed, no_wallet_late
from polycopy_assets.checks.witness_of_activity import activity_has_every_trade
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed


def checks_of(feed: Feed) -> list[dg.AssetChecksDefinition]:
    """The checks of `feed`."""
    of_ledger = [activity_has_every_trade, no_holding_below_zero] if feed is ACTIVITY else []
    return [
        no_wallet_failed(feed),
        no_wallet_late(feed),
        no_contract_breaks(feed),
        no_duplicate_ids(feed),
        rows_match_record(feed),
        store_has_the_record(feed),
        *of_ledger,
    ]
