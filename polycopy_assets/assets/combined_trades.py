"""`combined_trades`: what the record has and no batch holds yet, as one batch of Parquet."""

import dagster as dg

from polycopy_assets import record
from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.columns import TRADES_COLUMNS
from polycopy_assets.combine import Combined, combine, new_claims, pending, read_manifests
from polycopy_assets.errors import ObjectExists
from polycopy_assets.resources import StoreResource
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import PARTS, Manifest, manifest_name

ATTEMPTS = 3
NAMED_WALLETS = 20


@dg.asset(
    deps=[record.WALLET_TRADES],
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
    context: dg.AssetExecutionContext, store: StoreResource
) -> dg.MaterializeResult:
    """Commits one batch, or none if nothing is new."""
    objects = store.open()
    combined, manifests = _combine(context.instance, objects)
    manifest = combined.manifest
    batches = len(manifests) + bool(manifest)
    context.log.info(_line(combined))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"batches-{batches}"),
        metadata={
            "dagster/row_count": sum(item.rows for item in manifests)
            + (manifest.rows if manifest else 0),
            "dagster/uri": objects.uri(PARTS),
            "batches": batches,
            "new_rows": manifest.rows if manifest else 0,
            "new_segments": len(manifest.claims) if manifest else 0,
            "new_wallets": len({item.wallet for item in manifest.claims}) if manifest else 0,
            "new_parts": len(manifest.parts) if manifest else 0,
            **({"manifest": objects.uri(manifest_name(manifest.batch))} if manifest else {}),
        },
        check_results=[_check(combined)],
    )


def _combine(instance: dg.DagsterInstance, store: Store) -> tuple[Combined, list[Manifest]]:
    """One batch of what is new, and the batches before it.

    If another run takes the batch's number first, what is new is worked out again.
    """
    for attempt in range(ATTEMPTS):
        manifests = read_manifests(store)
        wallets = pending(record.versions(instance), manifests)
        records = ((item.version, item.segments) for item in record.records(instance, wallets))
        claims = new_claims(records, manifests)
        try:
            return combine(store, claims, manifests[-1].batch + 1 if manifests else 1), manifests
        except ObjectExists:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _line(combined: Combined) -> str:
    if combined.manifest is None:
        return "nothing is new"
    manifest = combined.manifest
    return (
        f"batch {manifest.batch}: {manifest.rows:,} trades of {len(manifest.claims):,} segments"
        f" in {len(manifest.parts)} parts"
    )


def _check(combined: Combined) -> dg.AssetCheckResult:
    named = dict(sorted(combined.lost.items())[:NAMED_WALLETS])
    return dg.AssetCheckResult(
        check_name="record_has_its_data",
        passed=not combined.lost,
        metadata={
            "wallets_left_out": len(combined.lost),
            "first_wallets": dg.MetadataValue.json(named),
        },
        description=(
            f"{len(combined.lost)} wallets were left out, because segments that their record"
            " names are gone or changed"
            if combined.lost
            else "every new segment is in the store"
        ),
    )
