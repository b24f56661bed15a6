"""Whether two feeds agree: every trade is in `trades` and, as a row of type TRADE, in `activity`.

Each feed is asked for by itself, so each is a witness of the other: what one walk missed, the other
has. The comparison is exact, to the millionth of a share, and knows what the source leaves out of
trades: combinations of outcomes, and fills under 0.01 shares. Trades of another source, of an older
job's files for instance, are compared by their number in the transaction.
"""

from collections.abc import Mapping

import dagster as dg

from polycopy_assets.checks.computed import NAMED, computed
from polycopy_assets.checks.shown import shown
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.pipeline.load import lacking
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource
from polycopy_assets.store.base import Store
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.feed_table import cost_metadata
from polycopy_assets.warehouse.fills import Compared, Difference, Unmatched

NAME = "activity_has_every_trade"
FEEDS = (TRADES, ACTIVITY)
_LACKS_IT = {
    Difference.ACTIVITY_LACKS: ACTIVITY.table,
    Difference.TRADES_LACK: TRADES.table,
}
"""The table that lacks a trade which the other one has."""

_TO_DO = (
    "fetch the named wallets again in full, both feeds: the jobs `fetch` and `fetch_activity` with"
    " `wallets` and `mode: full`. If the difference stays, the source's feeds differ"
)


@dg.asset_check(
    name=NAME,
    asset=asset_keys(ACTIVITY).table,
    additional_deps=[asset_keys(TRADES).table],
    description="Every trade of `trades` is in `activity`, and the other way round, as far as both "
    "are covered. Combos, and fills under 0.01 shares, are in `activity` alone.",
)
def activity_has_every_trade(
    context: dg.AssetCheckExecutionContext,
    store: StoreResource,
    warehouse: WarehouseResource,
    progress: dg.ResourceParam[Progress],
) -> dg.AssetCheckResult:
    """Fails with the first trades that `activity` lacks; warns of those that `trades` lacks."""
    with computed(context, progress) as outcome:
        objects = store.open(context.instance)
        opened = warehouse.open(ACTIVITY.table, context.run.run_id)
        outcome.result = agreement_of_feeds(context.instance, objects.whole, opened)
    return outcome.result


def agreement_of_feeds(
    instance: dg.DagsterInstance, store: Store, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """The result of the check: of every wallet whose rows of both feeds are in their tables."""
    until: dict[str, int] | None = None
    for feed in FEEDS:
        record, table = FeedRecord(instance, feed), warehouse.table(feed)
        versions = record.versions()
        found = lacking(versions, FeedStore(store, feed), lambda table=table: table)
        if found.unloaded or found.unknown:
            return _result({}, "nothing", f"{feed.table} is not loaded yet: {found.why()}")
        waiting = set(found.uncombined)
        covered = {
            wallet: item.covered_until
            for wallet, item in record.read()
            if isinstance(item, Record)
            and wallet not in waiting
            # A fetch may go on: what it has recorded meanwhile is not loaded yet.
            and item.version == versions.get(wallet)
        }
        until = covered if until is None else _both(until, covered)
    compared = warehouse.unmatched(until or {}, NAMED)
    return _of(compared, len(until or {}), warehouse)


def _both(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Until when both cover a wallet."""
    return {wallet: min(end, other[wallet]) for wallet, end in one.items() if wallet in other}


def _of(found: Compared, wallets: int, warehouse: Warehouse) -> dg.AssetCheckResult:
    where = f"since {found.since:%Y-%m-%d}" if found.since else "everything that both cover"
    lacks = [
        (kind, found.totals[kind])
        for kind in (Difference.ACTIVITY_LACKS, Difference.TRADES_LACK)
        if kind in found.totals
    ]
    metadata = {
        "wallets": dg.MetadataValue.int(wallets),
        "activity_lacks": dg.MetadataValue.int(found.totals.get(Difference.ACTIVITY_LACKS, 0)),
        "trades_lack": dg.MetadataValue.int(found.totals.get(Difference.TRADES_LACK, 0)),
        "combos": dg.MetadataValue.int(found.totals.get(Difference.COMBO, 0)),
        "told_otherwise": dg.MetadataValue.int(found.totals.get(Difference.TOLD_OTHERWISE, 0)),
        "dust": dg.MetadataValue.int(found.totals.get(Difference.DUST, 0)),
        **shown(
            "first",
            [
                {
                    "not_in": _LACKS_IT[kind],
                    "wallet": x.wallet,
                    "day": str(x.day),
                    "tx_hash": x.tx_hash,
                }
                for kind, _ in lacks
                for x in found.first[kind]
            ],
        ),
        **({"what_to_do": dg.MetadataValue.text(_TO_DO)} if lacks else {}),
        **{name: dg.MetadataValue.int(n) for name, n in cost_metadata(warehouse.cost).items()},
    }
    said = "; ".join(
        f"the table {_LACKS_IT[kind]} lacks {counted(total, 'trade')}, the first is"
        f" {_named(found.first[kind][0])}"
        for kind, total in lacks
    )
    agree = counted(wallets, "wallet agrees", "wallets agree")
    severity = Difference.ACTIVITY_LACKS in found.totals
    return _result(metadata, where, said or agree, passed=not lacks, failed=severity)


def _named(item: Unmatched) -> str:
    return f"of {item.wallet} on {item.day}, transaction {item.tx_hash}"


def _result(
    metadata: Mapping[str, dg.MetadataValue],
    where: str,
    said: str,
    *,
    passed: bool = True,
    failed: bool = False,
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=asset_keys(ACTIVITY).table,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={**metadata, "compared": where},
    )
