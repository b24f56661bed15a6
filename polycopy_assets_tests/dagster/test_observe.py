"""Observing the tables that others write: who is wanted, and the old job's ledger."""

import dagster as dg
import duckdb

from polycopy_assets.definitions import build
from polycopy_assets_tests.deployment import Deployment


def _observe(deployment: Deployment, key: str) -> dict[str, object]:
    with deployment.instance() as instance:
        job = build(deployment.settings).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(key)], raise_on_error=True
        )
        (event,) = result.get_asset_observation_events()
    observed = event.asset_observation_data.asset_observation
    return {name: value.value for name, value in observed.metadata.items()}


def test_who_is_wanted_is_counted_and_what_is_no_wallet_is_named(deployment: Deployment):
    deployment.want(["0x" + "a" * 40])
    with duckdb.connect(deployment.settings.warehouse) as db:
        db.execute("INSERT INTO traders VALUES ('nobody'), (NULL)")
    seen = _observe(deployment, "traders")
    assert (seen["dagster/row_count"], seen["wallets"], seen["refused"]) == (3, 1, 2)
    assert "nobody" in str(seen["first_refused"])


def test_the_old_ledger_is_counted_and_its_absence_is_said(deployment: Deployment):
    assert _observe(deployment, "backfill_checkpoint")["table_exists"] is False
    with duckdb.connect(deployment.settings.warehouse) as db:
        db.execute(
            "CREATE TABLE backfill_checkpoint (wallet_address VARCHAR, completed BOOLEAN,"
            " processed_at TIMESTAMP, trade_count BIGINT, gcs_file VARCHAR,"
            " upload_successful BOOLEAN)"
        )
        db.execute(
            "INSERT INTO backfill_checkpoint VALUES ('0xA', TRUE, now()::TIMESTAMP, 3, 'f', TRUE),"
            " ('0xa', TRUE, NULL, NULL, NULL, FALSE), ('0xb', FALSE, NULL, 4, NULL, NULL)"
        )
    seen = _observe(deployment, "backfill_checkpoint")
    assert seen["table_exists"] is True
    assert (seen["dagster/row_count"], seen["wallets"], seen["completed"]) == (3, 2, 2)
    assert (seen["completed_without_upload"], seen["trades"]) == (1, 7)
