"""Checks of the table: no id twice, and every row that was recorded is there once."""

from collections.abc import Mapping

import dagster as dg

from polycopy_assets import record
from polycopy_assets.assets.cost import cost_metadata
from polycopy_assets.checks.computed import NAMED, computed
from polycopy_assets.combine import combined_versions, read_manifests
from polycopy_assets.identity import checked_table
from polycopy_assets.resources import StoreResource, WarehouseResource
from polycopy_assets.trades.wallet import ADDRESS
from polycopy_assets.warehouse.base import Warehouse

_MEND = "`polycopy reconcile` tells wallet by wallet what is wrong, `--apply` puts it right"
_MEND_IDS = f"{_MEND}; on BigQuery with `--verify`, which reads the ids as well"


@dg.asset_check(asset="trades", description="No (wallet_address, id) occurs twice.")
def no_duplicate_ids(
    context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
) -> dg.AssetCheckResult:
    """Fails with the first trades that the table holds more than once.

    Where looking costs money it looks at as many of the newest months as a small amount allows.
    """
    with computed(context) as outcome:
        table = warehouse.open("trades", context.run.run_id)
        found, since = table.duplicates(NAMED)
        where = f" since {since:%Y-%m-%d}" if since else ""
        outcome.result = dg.AssetCheckResult(
            passed=not found,
            metadata={
                "first": dg.MetadataValue.json([list(item) for item in found]),
                "looked_at": f"trades{where}" if where else "the whole table",
                **({"what_to_do": _MEND_IDS} if found else {}),
                **cost_metadata(table.cost),
            },
            description=(
                f"{len(found)} or more ids occur twice, first {found[0][1]} of {found[0][0]}"
                if found
                else f"every id{where} occurs once"
            ),
        )
    return outcome.result


@dg.asset_check(
    asset="trades",
    additional_deps=[record.WALLET_TRADES, "combined_trades"],
    description="Rows are conserved along the chain: for every wallet, the batches hold what the "
    "record says, and the table has as many rows.",
)
def rows_match_record(
    context: dg.AssetCheckExecutionContext, store: StoreResource, warehouse: WarehouseResource
) -> dg.AssetCheckResult:
    """Fails with the first wallets whose rows in the table are not those of the record.

    What was recorded since the last combine is not expected in the table yet. Where counting
    costs money, and both have the same number of rows altogether, that is enough. Rows outside of
    what the record covers are another writer's, and none of our matter: wallets that seem to
    differ are counted again without them. Rows that we loaded of wallets that no record and no
    batch knows are named as well: nothing says that they are trades.
    """
    with computed(context) as outcome:
        recorded = record.versions(context.instance)
        objects = store.open(context.instance)
        manifests = read_manifests(objects)
        combined = combined_versions(manifests)
        waiting = sorted(w for w, version in recorded.items() if combined.get(w) != version)
        # A wallet whose record was taken back is fetched again; until then nobody can tell.
        # One that is combined in part has no version: then the record's is all there is to compare.
        expected = record.rows({w: v or recorded[w] for w, v in combined.items() if w in recorded})
        table = warehouse.open("trades", context.run.run_id)
        checked_table(context.instance, objects, table, keep=False)
        together = table.cost is not None and table.count_rows() == sum(expected.values())
        counted = {} if together else table.rows_by_wallet()
        wrong = [] if together else _wrong(context.instance, table, expected, counted)
        # Another instance that shares the store may have recorded what its batches claim.
        claimed = {claim.wallet for manifest in manifests for claim in manifest.claims}
        known = recorded.keys() | record.taken_back(context.instance).keys() | claimed
        wrong += [
            (wallet, 0, rows)
            for wallet, rows in table.loaded_rows(
                [w for w in counted if w and ADDRESS.fullmatch(w) and w not in known]
            ).items()
        ]
        outcome.result = dg.AssetCheckResult(
            passed=not wrong,
            metadata={
                "wallets": len(recorded),
                "rows_recorded": sum(record.rows(recorded).values()),
                "rows_combined": sum(expected.values()),
                "compared": "all rows together" if together else "wallet by wallet",
                "wallets_that_differ": len(wrong),
                "not_combined_yet": len(waiting),
                "first_not_combined_yet": dg.MetadataValue.json(waiting[:NAMED]),
                "rows_of_other_wallets": sum(n for w, n in counted.items() if w not in recorded),
                "first": dg.MetadataValue.json(
                    [
                        {"wallet": wallet, "record": want, "table": have}
                        for wallet, want, have in wrong[:NAMED]
                    ]
                ),
                **({"what_to_do": _MEND} if wrong else {}),
                **cost_metadata(table.cost),
            },
            description=(
                f"{len(wrong)} wallets differ, first {wrong[0][0]}: "
                f"{wrong[0][1]} rows in the record, {wrong[0][2]} in the table"
                if wrong
                else f"{sum(expected.values())} rows in the record and in the table"
                if together
                else f"{len(expected)} wallets agree"
            ),
        )
    return outcome.result


def _wrong(
    instance: dg.DagsterInstance,
    table: Warehouse,
    expected: Mapping[str, int],
    counted: Mapping[str, int],
) -> list[tuple[str, int, int]]:
    wrong = differences(expected, counted)
    if not wrong:
        return []
    read = dict(record.read_all(instance, [wallet for wallet, _, _ in wrong]))
    until = {w: item.covered_until for w, item in read.items() if isinstance(item, record.Record)}
    tallied = table.tally(until)
    inside = {
        # Nobody can tell until when a record reaches that cannot be read.
        wallet: tally.inside if wallet in until else tally.rows
        for wallet, tally in tallied
        if wallet
    }
    return differences({wallet: want for wallet, want, _ in wrong}, inside)


def differences(
    recorded: Mapping[str, int], table: Mapping[str, int]
) -> list[tuple[str, int, int]]:
    """(wallet, rows recorded, rows in the table) where the two differ, sorted by wallet."""
    return [
        (wallet, rows, table.get(wallet, 0))
        for wallet, rows in sorted(recorded.items())
        if table.get(wallet, 0) != rows
    ]
