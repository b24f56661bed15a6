"""Tables as other hands have made them: in any case, of any type, in any zone."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from polycopy_assets.errors import WarehouseError
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.ledger.facts import Checkpoint, Tally
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

WALLET = "0x" + "ab" * 20
NEW_YORK = "America/New_York"


def warehouse(path: Path, *statements: str) -> DuckDBWarehouse:
    with duckdb.connect(str(path / "w.duckdb")) as db:
        for statement in statements:
            db.execute(statement)
    return DuckDBWarehouse(path / "w.duckdb")


def checkpoint(path: Path, kinds: tuple[str, ...], values: str) -> list[Checkpoint] | None:
    names = Checkpoint._fields
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=True))
    return warehouse(
        path,
        f"CREATE TABLE backfill_checkpoint ({columns})",
        f"INSERT INTO backfill_checkpoint VALUES {values}",
    ).checkpoint()


def test_a_checkpoint_of_text_says_what_its_words_say(tmp_path: Path):
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    rows = checkpoint(
        tmp_path,
        ("VARCHAR",) * 6,
        "('0xa', 'true', '2026-01-02 03:04:05', '7', 'f', 'TRUE'),"
        " ('0xb', 'false', '', NULL, NULL, 'False'), ('0xc', 'so so', 'now', 'many', '', '')",
    )
    assert rows == [
        ("0xa", True, moment, 7, "f", True),
        ("0xb", False, None, None, None, False),
        ("0xc", None, None, -1, "", None),
    ]


def test_a_checkpoint_of_other_types_is_read_as_what_it_means(tmp_path: Path):
    kinds = ("VARCHAR", "BIGINT", "TIMESTAMPTZ", "DOUBLE", "INTEGER", "INTEGER")
    values = "('0xa', 1, '2026-01-02 03:04:05+01', 7.0, 5, 0)"
    moment = datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert checkpoint(tmp_path, kinds, values) == [("0xa", True, moment, 7, "5", False)]


def test_the_machines_zone_moves_no_time(tmp_path: Path):
    """Rows with a zone were counted five hours beside where they are."""
    told = warehouse(
        tmp_path,
        "SET TimeZone = 'UTC'",
        "CREATE TABLE trades (wallet_address VARCHAR, timestamp TIMESTAMPTZ)",
        f"INSERT INTO trades VALUES ('{WALLET}', '2026-01-01 00:00:00')",
        "CREATE TABLE backfill_checkpoint (wallet_address VARCHAR, completed BOOL, processed_at"
        " TIMESTAMPTZ, trade_count INT, gcs_file VARCHAR, upload_successful BOOL)",
        "INSERT INTO backfill_checkpoint VALUES ('0xa', TRUE, '2026-01-01 00:00:00', 1, '', TRUE)",
    )
    begins = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    asked = f"""
from pathlib import Path
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
table = DuckDBWarehouse(Path({str(told.path)!r}))
trades = table.table(TRADES)
print([trades.tally({{{WALLET!r}: until}})[0][1].inside for until in ({begins}, {begins + 1})])
print(table.checkpoint()[0].processed_at.isoformat(), *trades.rows_by_month().rows)
"""
    done = subprocess.run(
        [sys.executable, "-c", asked],
        env={"TZ": NEW_YORK, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split("\n")[:2] == [
        "[0, 1]",
        "2026-01-01T00:00:00+00:00 2026-01-01",
    ], done.stderr


def test_names_in_any_case_are_found_and_those_of_other_schemas_are_not(tmp_path: Path):
    table = warehouse(
        tmp_path,
        "CREATE TABLE TRADERS (WALLET_ADDRESS VARCHAR)",
        f"INSERT INTO TRADERS VALUES ('{WALLET}')",
        "CREATE TABLE Trades (Wallet_Address TEXT, ID TEXT, TIMESTAMP TIMESTAMP, SOURCE TEXT)",
        f"INSERT INTO Trades VALUES ('{WALLET}', 'x-0', '2026-01-01 00:00:00', 'polymarket')",
        "CREATE SCHEMA bak",
        "CREATE TABLE bak.backfill_checkpoint (wallet_address VARCHAR)",
        "CREATE TABLE bak.polycopy_batches (batch BIGINT)",
    )
    assert table.traders() == [WALLET]
    assert table.table(TRADES).tally({WALLET: 2_000_000_000}) == [(WALLET, Tally(1, 1, 1, 0))]
    assert table.checkpoint() is None
    assert table.table(TRADES).loaded_batches() == set()


@pytest.mark.parametrize(
    ("kind", "value"), [("BIGINT", "NULL"), ("VARCHAR", "'1'"), ("DOUBLE", "0.5")]
)
def test_a_batch_that_is_no_number_is_told_in_one_line(tmp_path: Path, kind: str, value: str):
    table = warehouse(
        tmp_path,
        f"CREATE TABLE polycopy_batches (batch {kind}, rows BIGINT, loaded_at TIMESTAMP)",
        f"INSERT INTO polycopy_batches VALUES ({value}, 1, now())",
    )
    with pytest.raises(WarehouseError, match=r"table polycopy_batches in .*batch.*Drop that table"):
        table.table(TRADES).loaded_batches()


def test_traders_may_be_a_view(tmp_path: Path):
    table = warehouse(tmp_path, f"CREATE VIEW traders AS SELECT '{WALLET}' AS wallet_address")
    assert table.traders() == [WALLET]
    table.check_writable()


@pytest.mark.parametrize("view", ["traders", "BACKFILL_CHECKPOINT", "trades", "polycopy_batches"])
def test_a_view_whose_table_is_gone_is_an_error_and_not_an_empty_table(tmp_path: Path, view: str):
    table = warehouse(
        tmp_path,
        "CREATE TABLE base (wallet_address VARCHAR, batch BIGINT)",
        f"CREATE VIEW {view} AS SELECT * FROM base",
        "DROP TABLE base",
    )
    read = {
        "traders": table.traders,
        "BACKFILL_CHECKPOINT": table.checkpoint,
        "trades": table.table(TRADES).count_rows,
        "polycopy_batches": table.table(TRADES).loaded_batches,
    }[view]
    with pytest.raises(WarehouseError, match="base does not exist"):
        read()


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ("BIGINT", "7", "7"),
        ("BLOB", r"'\xaa'", r"b'\xaa'"),
        ("VARCHAR[]", "['0xa']", "['0xa']"),
        ("UUID", f"'{'a' * 32}'", "UUID('aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa')"),
    ],
)
def test_traders_that_are_no_text_are_named_as_what_they_are(
    tmp_path: Path, kind: str, value: str, told: str
):
    table = warehouse(
        tmp_path,
        f"CREATE TABLE traders (wallet_address {kind})",
        f"INSERT INTO traders VALUES ({value}), (NULL)",
    )
    assert table.traders() == [told, None]


@pytest.mark.parametrize("blank", [9, 10, 11, 12, 13, 28, 31, 32, 133, 160])
def test_white_space_around_an_address_hides_no_row(tmp_path: Path, blank: int):
    table = warehouse(
        tmp_path,
        "CREATE TABLE trades (wallet_address VARCHAR, timestamp TIMESTAMP)",
        f"INSERT INTO trades VALUES (chr({blank}) || '{WALLET.upper()}' || chr({blank}),"
        " TIMESTAMP '2026-01-01')",
        "CREATE TABLE traders AS SELECT wallet_address FROM trades",
    )
    assert table.table(TRADES).tally({WALLET: 2_000_000_000}) == [(WALLET, Tally(1, 1, 0, 1))]
    assert table.add_traders([WALLET]) == 0
    assert table.table(TRADES).delete_mixed_case({WALLET: 2_000_000_000}) == 1
