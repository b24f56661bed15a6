"""`combined_trades`: what the record has and no batch holds yet, as batches of Parquet."""

from collections.abc import Collection, Mapping

import dagster as dg
from pydantic import Field

from polycopy_assets import record
from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.busy import tried_again_if_busy
from polycopy_assets.assets.columns import TRADES_COLUMNS
from polycopy_assets.combine import combine_all, new_claims, next_batch, pending, read_manifests
from polycopy_assets.errors import ObjectExists, PolycopyError, Unexpected
from polycopy_assets.liveness import alive
from polycopy_assets.progress import Progress
from polycopy_assets.resources import StoreResource, WarehouseResource
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import PARTS, Manifest, current, manifest_name
from polycopy_assets.turns import WAREHOUSE, turn

ATTEMPTS = 3
RECORD = "record"
"""The metadata that tells which state of the record was combined, or loaded."""

NAMED_WALLETS = 20


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
            "record_has_its_data",
            asset="combined_trades",
            description="Every new segment that the record names is in the store, unchanged.",
        )
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
    objects, table = store.open(), warehouse.open("combined_trades", context.run.run_id)
    with tried_again_if_busy(context), alive(context), turn(context, WAREHOUSE, progress):
        recorded, manifests, made, lost = _combine(
            context, objects, table.loaded_batches(), frozenset(config.again)
        )
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"batches-{len(manifests)}"),
        metadata={
            RECORD: recorded,
            "dagster/row_count": sum(item.rows for item in current(manifests)),
            "dagster/uri": objects.uri(PARTS),
            "batches": len(manifests),
            "new_batches": len(made),
            "new_rows": sum(item.rows for item in made),
            "new_segments": sum(len(item.claims) for item in made),
            "new_wallets": len({claim.wallet for item in made for claim in item.claims}),
            "new_parts": sum(len(item.parts) for item in made),
            **({"manifest": objects.uri(manifest_name(made[-1].batch))} if made else {}),
        },
        check_results=[_check(lost)],
    )


def _combine(
    context: dg.AssetExecutionContext, store: Store, loaded: Collection[int], again: frozenset[str]
) -> tuple[str, list[Manifest], list[Manifest], dict[str, PolycopyError]]:
    """Which record was combined, all batches, those that were made, and the wallets left out.

    If another run takes a batch's number first, what is new is worked out again.
    """
    made: list[Manifest] = []
    for attempt in range(ATTEMPTS):
        lost: dict[str, PolycopyError] = {}
        manifests = read_manifests(store)
        versions = record.versions(context.instance)
        wallets = {*pending(versions, manifests), *(again & versions.keys())}
        found = record.records(context.instance, wallets)
        claims = new_claims(((item.version, item.segments) for item in found), manifests, again)
        try:
            for each in combine_all(store, claims, next_batch(manifests, loaded)):
                lost |= each.lost
                if each.manifest is not None:
                    made.append(each.manifest)
                    manifests.append(each.manifest)
                    context.log.info(_line(each.manifest))
        except ObjectExists:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        if not made:
            context.log.info("nothing is new")
        return record.digest(versions), manifests, made, _lost_still(context, versions, lost)
    raise AssertionError("unreachable")


def _lost_still(
    context: dg.AssetExecutionContext,
    versions: Mapping[str, str],
    lost: Mapping[str, PolycopyError],
) -> dict[str, PolycopyError]:
    """Those in `lost` whose record is the one that `versions` tells of.

    A full refetch may have replaced the others since: they are new again, for the next combine.
    """
    if not lost:
        return {}
    now = record.versions(context.instance)
    for wallet in sorted(lost):
        if now.get(wallet) != versions[wallet]:
            context.log.info(f"{wallet} was recorded anew meanwhile, and waits for the next load")
    still = {wallet: why for wallet, why in lost.items() if now.get(wallet) == versions[wallet]}
    for wallet, why in still.items():
        context.log.error(f"{wallet} is left out: {why}")
        if isinstance(why, Unexpected):
            context.log.error(why.traceback)
    return still


def _line(manifest: Manifest) -> str:
    return (
        f"batch {manifest.batch}: {manifest.rows:,} trades of {len(manifest.claims):,} segments"
        f" in {len(manifest.parts)} parts"
    )


def _check(lost: Mapping[str, PolycopyError]) -> dg.AssetCheckResult:
    named = {wallet: str(why) for wallet, why in sorted(lost.items())[:NAMED_WALLETS]}
    return dg.AssetCheckResult(
        check_name="record_has_its_data",
        passed=not lost,
        metadata={
            "wallets_left_out": len(lost),
            "first_wallets": dg.MetadataValue.json(named),
        },
        description=(
            f"{len(lost)} wallets were left out, because segments that their record names are"
            f" gone, changed or cannot be read: {_first(named)}."
            " `polycopy reconcile --apply` fetches them again"
            if lost
            else "every new segment is in the store"
        ),
    )


def _first(named: Mapping[str, str]) -> str:
    wallet, why = next(iter(named.items()))
    return f"first {wallet}: {why}"
