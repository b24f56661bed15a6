"""The checks: what is wrong right now, with the first wallets by name, and what to do."""

from polycopy_assets.checks.store import store_has_the_record
from polycopy_assets.checks.table import no_duplicate_ids, rows_match_record
from polycopy_assets.checks.wallets import no_contract_breaks, no_wallet_failed, no_wallet_late

CHECKS = [
    no_wallet_failed,
    no_wallet_late,
    no_contract_breaks,
    no_duplicate_ids,
    rows_match_record,
    store_has_the_record,
]
