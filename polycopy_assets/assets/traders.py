"""`traders`: who is wanted. Written by people and by `polycopy wallets add`."""

import dagster as dg

from polycopy_assets.assets import OWNERS

traders = dg.AssetSpec(
    "traders",
    description="The wallets whose trades are wanted: the table `traders` of the warehouse. "
    "Add to it with `polycopy wallets add`, or with SQL.",
    group_name="wanted",
    kinds={"table"},
    owners=OWNERS,
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn("wallet_address", "string", "0x and 40 hex digits, any case")]
        )
    },
)
