"""`traders`: the wallets to collect. Written by people and by `polycopy wallets add`."""

import dagster as dg

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.beta import observed_tables
from polycopy_assets.assets.pages import WALLETS_PAGE
from polycopy_assets.checks.shown import shown
from polycopy_assets.guard.heartbeat import heartbeat
from polycopy_assets.resources.embedded import WarehouseResource
from polycopy_assets.text import NAME, one_line
from polycopy_assets.trades.wallet import sort_out
from polycopy_assets.warehouse.feed_table import cost_metadata

NAMED = 20


@observed_tables(
    name="traders",
    specs=[
        dg.AssetSpec(
            "traders",
            description="The wallets to collect: the table `traders` of the warehouse.\n\n"
            "Add wallets with `polycopy wallets add`, or with SQL. The sensor `new_wallets` "
            "observes the table when it has changed.\n\n" + WALLETS_PAGE,
            group_name="wanted",
            kinds={"table"},
            owners=OWNERS,
            tags=TAGS,
            metadata={
                "dagster/column_schema": dg.TableSchema(
                    columns=[
                        dg.TableColumn("wallet_address", "string", "0x and 40 hex digits, any case")
                    ]
                )
            },
        )
    ],
)
def traders(context: dg.AssetExecutionContext, warehouse: WarehouseResource) -> dg.ObserveResult:
    """Counts the wallets to collect, and names rows that are not wallets; one query.

    No data version: a new wallet does not make the trades of the others out of date.
    """
    with heartbeat(context):
        table = warehouse.open("traders", context.run.run_id)
        rows = table.traders()
    good, refused = sort_out([row or "" for row in rows])
    return dg.ObserveResult(
        asset_key="traders",
        metadata={
            "dagster/row_count": len(rows),
            "dagster/uri": table.uri,
            "wallets": len(good),
            "refused": len(refused),
            **shown("first_refused", [one_line(text, NAME) for text in refused[:NAMED]]),
            **cost_metadata(table.cost),
        },
    )
