"""`combined_trades`: what the record has and no batch holds yet, as batches of Parquet."""

from collections.abc import Mapping

import dagster as dg
from pydantic import Field

from polycopy_assets import record
from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.busy import tried_again_if_busy
from polycopy_assets.assets.columns import TRADES_COLUMNS
from polycopy_assets.errors import PolycopyError
from polycopy_assets.identity import checked_table
from polycopy_assets.liveness import alive
from polycopy_assets.progress import Progress
from polycopy_assets.recombine import Combined, combine_new
from polycopy_assets.resources import StoreResource, WarehouseResource
from polycopy_assets.trades.batch import PARTS, current, manifest_name
from polycopy_assets.turns import WAREHOUSE, turn

RECORD = "record"
"""The metadata that tells which state of the record was combined, or loaded."""

NAMED_WALLETS = 20
RECORD_HAS_ITS_DATA = "record_has_its_data"
WALLETS_LEFT_OUT = "wallets_left_out"
BATCHES_HOLD = "batches_hold"
BATCHES_LEFT = "batches_left"
"""The checks that tell what a combine had to leave, and the metadata that tell how much that is."""


class CombineConfig(dg.Config):
    """What to combine besides what is new."""

    again: list[str] = Field(
        default=[],
        description="Wallets to combine again, whole, so that loading puts right what the table "
        "holds of them.",
    )


@dg.asset(
    deps=[record.WALLET_TRADES],
    pool=WAREHOUSE,
    group_name="trades",
    kinds={"polars", "parquet"},
    owners=OWNERS,
    description="The segments of the wallets' latest records that no batch holds yet, as typed, "
    "sorted Parquet parts and a manifest that lists every segment. Work grows with what is new.",
    metadata={"dagster/column_schema": TRADES_COLUMNS},
    check_specs=[
        dg.AssetCheckSpec(
            RECORD_HAS_ITS_DATA,
            asset="combined_trades",
            description="Every new segment that the record names is in the store, unchanged.",
        ),
        dg.AssetCheckSpec(
            BATCHES_HOLD,
            asset="combined_trades",
            description="No broken batch is among the others: those that were found are set aside.",
        ),
    ],
)
def combined_trades(
    context: dg.AssetExecutionContext,
    config: CombineConfig,
    store: StoreResource,
    warehouse: WarehouseResource,
    progress: dg.ResourceParam[Progress],
) -> dg.MaterializeResult:
    """Commits what is new as batches of bounded size, or none if nothing is new."""
    objects, table = (
        store.open(context.instance),
        warehouse.open("combined_trades", context.run.run_id),
    )
    with tried_again_if_busy(context), alive(context), turn(context, WAREHOUSE, progress):
        found = combine_new(
            context.instance,
            objects,
            checked_table(context.instance, objects, table).loaded_batches(),
            context.log,
            again=frozenset(config.again),
        )
    manifests, made = found.manifests, found.made
    return dg.MaterializeResult(
        data_version=dg.DataVersion(
            f"batches-{max((item.batch for item in manifests), default=0)}"
        ),
        metadata={
            RECORD: found.recorded,
            "dagster/row_count": sum(item.rows for item in current(manifests)),
            "dagster/uri": objects.uri(PARTS),
            "batches": len(manifests),
            "new_batches": len(made),
            "new_rows": sum(item.rows for item in made),
            "new_segments": sum(len(item.claims) for item in made),
            "new_wallets": len({claim.wallet for item in made for claim in item.claims}),
            "new_parts": sum(len(item.parts) for item in made),
            "broken_batches": len(found.broken),
            **({"manifest": objects.uri(manifest_name(made[-1].batch))} if made else {}),
        },
        check_results=[_check(found.lost), check_of_batches(found)],
    )


def _check(lost: Mapping[str, PolycopyError]) -> dg.AssetCheckResult:
    named = {wallet: str(why) for wallet, why in sorted(lost.items())[:NAMED_WALLETS]}
    return dg.AssetCheckResult(
        check_name=RECORD_HAS_ITS_DATA,
        passed=not lost,
        metadata={
            WALLETS_LEFT_OUT: len(lost),
            "first_wallets": dg.MetadataValue.json(named),
        },
        description=(
            f"{len(lost)} wallets were left out, because their record, or segments that it names,"
            f" are gone, changed or cannot be read: {_first(named)}."
            " `polycopy reconcile --apply` fetches them again"
            if lost
            else "every new segment is in the store"
        ),
    )


def _first(named: Mapping[str, str]) -> str:
    wallet, why = next(iter(named.items()))
    return f"first {wallet}: {why}"


def check_of_batches(found: Combined) -> dg.AssetCheckResult:
    """Fails if broken batches were found that could not be set aside."""
    stuck = dict(sorted(found.stuck.items())[:NAMED_WALLETS])
    first = next(iter(stuck.items()), None)
    return dg.AssetCheckResult(
        check_name=BATCHES_HOLD,
        passed=not found.stuck,
        metadata={
            "set_aside": dg.MetadataValue.json(
                [[x.name, x.why] for x in found.broken if x.name not in found.stuck][:NAMED_WALLETS]
            ),
            "left": dg.MetadataValue.json(stuck),
            BATCHES_LEFT: len(found.stuck),
        },
        description=(
            f"{len(found.stuck)} broken batches could not be set aside, first {first[0]}:"
            f" {first[1]}. What they held is combined again; move them away by hand"
            if first
            else f"{len(found.broken)} broken batches are set aside, and combined again"
            if found.broken
            else "every batch holds"
        ),
    )
