"""Whether a wallet gave away more shares of a token than it had: then `activity` lacks rows.

It is a cheap proof of completeness: shares only go if they came before, so a purchase, a split or
a page that is missing shows as a holding below nothing as soon as the shares were sold, merged or
redeemed. Shares that were sent from wallet to wallet are in no row, so it warns and never fails a
run.
"""

from collections.abc import Mapping

import dagster as dg

from polycopy_assets.checks.computed import NAMED, computed
from polycopy_assets.checks.shown import shown
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import Job
from polycopy_assets.pipeline.load import lacking
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.feed_table import cost_metadata
from polycopy_assets.warehouse.holdings import Below, Holdings, Verdict

NAME = "no_holding_below_zero"
_NOT_JUDGED = (Verdict.CONVERTED, Verdict.UNKNOWN, Verdict.UNTOLD, Verdict.OLDER)
_TO_DO = (
    "fetch the named wallets again in full: the job `fetch_activity` with `wallets` and `mode:"
    " full`. If it stays, the source lacks rows, or the wallet was sent shares, which no row tells"
)


@dg.asset_check(
    name=NAME,
    asset=asset_keys(ACTIVITY).table,
    additional_deps=["tokens", "markets"],  # a run that makes them does it first
    description="By the rows of `activity`, no wallet gave away more shares of a token than it "
    "had, but for what conversions may explain. Needs `tokens` and `markets`.",
)
def no_holding_below_zero(
    context: dg.AssetCheckExecutionContext,
    store: StoreResource,
    warehouse: WarehouseResource,
    progress: dg.ResourceParam[Progress],
) -> dg.AssetCheckResult:
    """Warns of the first wallets that hold less than nothing of a token."""
    with computed(context, progress) as outcome:
        objects = store.open(context.instance, ACTIVITY)
        opened = warehouse.open(ACTIVITY.table, context.run.run_id)
        outcome.result = holdings_of(context.instance, objects, opened)
    return outcome.result


def holdings_of(
    instance: dg.DagsterInstance, store: FeedStore, warehouse: Warehouse
) -> dg.AssetCheckResult:
    """The result of the check: of every wallet all of whose recorded rows are in the table."""
    record, table = FeedRecord(instance, ACTIVITY), warehouse.table(ACTIVITY)
    found = lacking(record.versions(), store, lambda: table)
    if found.unloaded or found.unknown:
        return _result({}, "nothing", f"activity is not loaded yet: {found.why()}")
    judged = warehouse.below_zero(found.uncombined, NAMED)
    if judged.lacks:
        made = f"there is no table {judged.lacks} yet"
        of_markets = f"`polycopy markets`, or the job `{Job.MARKETS}`, makes it"
        by = of_markets if judged.lacks != ACTIVITY.table else "nothing is loaded"
        return _result({}, "nothing", f"{made}: {by}")
    return _of(judged, warehouse)


def _of(found: Holdings, warehouse: Warehouse) -> dg.AssetCheckResult:
    below = found.totals.get(Verdict.BELOW, 0)
    untold = sum(found.totals.get(each, 0) for each in _NOT_JUDGED)
    where = f"since {found.since:%Y-%m-%d}" if found.since else "everything"
    metadata = {
        "below_zero": dg.MetadataValue.int(below),
        "held": dg.MetadataValue.int(found.totals.get(Verdict.HELD, 0)),
        "not_judged": dg.MetadataValue.int(untold),
        **{
            f"not_judged_{each.value}": dg.MetadataValue.int(found.totals[each])
            for each in _NOT_JUDGED
            if each in found.totals
        },
        **shown(
            "first",
            [
                {
                    "wallet": each.wallet,
                    "token_id": each.token_id,
                    "condition_id": each.condition_id,
                    "shares": f"{each.shares:f}",
                    "day": str(each.day),
                }
                for each in found.first
            ],
        ),
        **({"what_to_do": dg.MetadataValue.text(_TO_DO)} if below else {}),
        **{name: dg.MetadataValue.int(n) for name, n in cost_metadata(warehouse.cost).items()},
    }
    said = (
        f"{counted(below, 'holding is', 'holdings are')} below zero, first {_named(found.first[0])}"
        if found.first
        else "no holding is below zero"
    )
    not_judged = f"; {counted(untold, 'holding', 'holdings')} could not be judged" if untold else ""
    return _result(metadata, where, said + not_judged, passed=not below)


def _named(item: Below) -> str:
    what = f"token {item.token_id}" if item.token_id else f"No of event {item.condition_id}"
    return f"{item.wallet}: {item.shares:f} of {what} on {item.day}"


def _result(
    metadata: Mapping[str, dg.MetadataValue], where: str, said: str, *, passed: bool = True
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=NAME,
        asset_key=asset_keys(ACTIVITY).table,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={**metadata, "judged": where},
    )
