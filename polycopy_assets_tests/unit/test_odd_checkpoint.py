"""Checkpoints as other hands have left them: what is no time or no text is read all the same."""

from pathlib import Path

import duckdb
import pytest

from polycopy_assets.errors import WarehouseError
from polycopy_assets.ledger.facts import Checkpoint
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

REST = "trade_count BIGINT, gcs_file VARCHAR, upload_successful BOOL"


def checkpoint(path: Path, columns: str, values: str) -> list[Checkpoint] | None:
    with duckdb.connect(str(path / "w.duckdb")) as db:
        db.execute(f"CREATE TABLE backfill_checkpoint ({columns})")
        db.execute(f"INSERT INTO backfill_checkpoint VALUES {values}")
    return DuckDBWarehouse(path / "w.duckdb").checkpoint()


@pytest.mark.parametrize("moment", ["290000-01-01 00:00:00", "0044-01-01 (BC) 00:00:00"])
def test_a_year_that_nobody_knows_counts_as_no_date(tmp_path: Path, moment: str):
    columns = f"wallet_address VARCHAR, completed BOOL, processed_at TIMESTAMP, {REST}"
    rows = checkpoint(tmp_path, columns, f"('0xa', true, TIMESTAMP '{moment}', 3, NULL, true)")
    assert rows == [("0xa", True, None, 3, None, True)]


def test_a_number_is_no_date_and_bytes_are_named_as_what_they_are(tmp_path: Path):
    columns = f"wallet_address BLOB, completed BOOL, processed_at BIGINT, {REST}"
    rows = checkpoint(tmp_path, columns, r"('\xaa'::BLOB, true, 1700000000, 3, NULL, true)")
    assert rows == [(r"b'\xaa'", True, None, 3, None, True)]


def test_a_column_that_is_missing_is_one_line(tmp_path: Path):
    with pytest.raises(WarehouseError) as refused:
        checkpoint(tmp_path, "wallet_address VARCHAR, completed BOOL", "('0xa', true)")
    assert "processed_at" in str(refused.value)
    assert "\n" not in str(refused.value)
