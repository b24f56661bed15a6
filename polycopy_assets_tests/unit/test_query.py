"""`polycopy query` and `polycopy export` on a DuckDB file."""

import csv
import datetime as dt
import io
import json
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb
import polars as pl
import pytest

from polycopy_assets.errors import WarehouseBusy, WarehouseError
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.feeds.trades.frame import TABLE_SCHEMA
from polycopy_assets.settings.memory import LEAST_MEMORY
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets.warehouse.reading import Selection
from polycopy_assets_tests.bench import WALLETS, WORLD, Bench, duckdb_sql
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.of_trades import Directory
from polycopy_assets_tests.talking import talking
from polycopy_assets_tests.unit.conftest import DemoTable

WHOLE = Selection()
ROWS = """
SELECT * FROM (
    VALUES
        (1, 'a,"b"', NULL, TIMESTAMPTZ '2024-05-06 07:08:09Z', 1.5::DOUBLE, true),
        (12345, 'c\x1b[31m', 7, NULL, 'nan'::DOUBLE, false)
) AS t (n, s, m, u, f, b); -- a comment
"""
HOLDER = """
import sys, duckdb
db = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


KILLED = """
import os, signal
from pathlib import Path
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from polycopy_assets.__main__ import main
main()
"""
"""The command, killed when the new file is written and has not taken the old one's place yet."""


class Here(NamedTuple):
    """The directory that a test stands in, and what it prints."""

    directory: Path
    printed: pytest.CaptureFixture[str]


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(tmp_path, capsys)


def time(second: int) -> str:
    return f"{dt.datetime.fromtimestamp(second, dt.UTC):%FT%TZ}"


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """The file in the hands of another process, which lets go of it when its input ends."""
    with talking(HOLDER, str(path)) as holder:
        assert holder.line() == "held"
        yield holder.process


def test_an_answer_is_a_table_csv_json_or_parquet(
    demo: DemoTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    here = demo.deployment.here
    code, out = here("query", ROWS)
    assert code == 0
    assert out.splitlines() == [
        "     n  s          m  u                       f  b",
        "------  ---------  -  --------------------  ---  -----",
        '     1  a,"b"         2024-05-06T07:08:09Z  1.5  true',
        "12,345  c\\x1b[31m  7                        nan  false",
    ]
    assert capsys.readouterr().err == "2 rows\n"
    code, out = here("query", "--csv", ROWS)
    assert list(csv.reader(io.StringIO(out))) == [
        ["n", "s", "m", "u", "f", "b"],
        ["1", 'a,"b"', "", "2024-05-06T07:08:09Z", "1.5", "true"],
        ["12345", "c\x1b[31m", "7", "", "nan", "false"],
    ]
    code, out = here("query", "--json", ROWS)
    first = {"n": 1, "s": 'a,"b"', "m": None, "u": "2024-05-06T07:08:09Z", "f": 1.5, "b": True}
    second = {"n": 12345, "s": "c\x1b[31m", "m": 7, "u": None, "f": None, "b": False}
    assert json.loads(out) == [first, second]
    assert json.loads(here("query", "--json", "SELECT 1 AS a WHERE false")[1]) == []
    nothing = "SELECT CAST(0 AS DECIMAL(38, 9)) AS usdc"
    assert here("query", "--csv", nothing)[1].split() == ["usdc", "0.000000000"]
    assert json.loads(here("query", "--json", nothing)[1]) == [{"usdc": "0.000000000"}]
    question = tmp_path / "q.sql"
    question.write_text("FROM trades")
    environ = demo.deployment.process_environ()
    done = subprocess.run(
        [sys.executable, "-m", "polycopy_assets", "query", "-f", str(question), "--parquet"],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert done.stderr == b"", "no word about leaks either"
    frame = pl.read_parquet(io.BytesIO(done.stdout))
    assert dict(frame.schema) == TABLE_SCHEMA
    assert len(frame) == len(demo.trades)
    assert list(tmp_path.iterdir()) == [question], "a question leaves nothing"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-- how many\nSELECT 7 AS n", "--csv"],
        ["--csv", "--how many\nSELECT 7 AS n"],
        ["--\nSELECT 7 AS n -- all", "--csv"],
        ["--csv", "--", "-- how many\r\nSELECT 7 AS n"],
    ],
)
def test_a_query_may_begin_with_a_comment(arguments: list[str], demo: DemoTable, here: Here):
    assert demo.deployment.here("query", *arguments) == (0, "n\n7\n"), here.printed.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["DROP TABLE trades"], 2, "only one statement that reads .*: DROP was given"),
        (["SELECT 1; DELETE FROM trades"], 2, "only one statement .*: SELECT, DELETE was given"),
        (["COPY trades TO 'x.csv'"], 2, "only one statement .*: COPY was given"),
        (["ATTACH 'x.db'"], 2, "only one statement .*: ATTACH was given"),
        (["SET memory_limit = '9GB'"], 2, "only one statement .*: SET was given"),
        (["/* nothing */"], 2, "only one statement .*: nothing was given"),
        (["-- nothing"], 2, "only one statement .*: nothing was given"),
        (["SELEC 1"], 2, "DuckDB does not take the query: Parser Error: syntax error at or near"),
        (["SELECT * FROM nowhere"], 1, "Catalog Error: Table with name nowhere does not exist!"),
        (["FROM 'secret.csv'"], 1, "Permission Error: Cannot access file"),
        (["FROM read_text('secret.csv')"], 1, "Permission Error: Cannot access file"),
        ([], 2, "give one query: polycopy query"),
        (["SELECT 1", "-f", "secret.csv"], 2, "give one query: polycopy query"),
        (["-f", "bytes"], 2, "bytes is not text in UTF-8"),
        (["--dry-run", "DROP TABLE trades"], 2, "only one statement .*: DROP was given"),
        (["-f", "nothing"], 2, "nothing holds no query"),
        (["SELECT '\udcff'"], 2, "the query is not text in UTF-8"),
        (["--csv", "--json", "SELECT 1"], 2, "--csv and --json exclude each other"),
    ],
)
def test_what_is_no_question_is_refused_in_one_line_and_changes_nothing(
    arguments: list[str], code: int, said: str, demo: DemoTable, here: Here
):
    tmp_path, capsys = here
    Path("secret.csv").write_text("secret")
    Path("bytes").write_bytes(b"\xff")
    Path("nothing").write_text(" \n")
    before = demo.deployment.warehouse.path.read_bytes()
    ended, out = demo.deployment.here("query", *arguments)
    told = capsys.readouterr().err
    assert (ended, out) == (code, "")
    assert re.fullmatch(f"polycopy: .*{said}.*\n", told), told
    assert demo.deployment.warehouse.path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bytes", "nothing", "secret.csv"]


def test_a_question_waits_for_a_backfill_and_does_not_hold_the_file_while_it_is_read(
    tmp_path: Path,
):
    path = tmp_path / "w.duckdb"
    patient = DuckDBWarehouse(path)
    patient.add_traders(["0x" + "1" * 40])
    with held(path) as process:
        hasty = DuckDBWarehouse(path, lock_wait=0.0)
        with (
            pytest.raises(WarehouseBusy, match=f"held by .*{process.pid}"),
            hasty.reader.ask("FROM traders"),
        ):
            pass
        assert process.stdin is not None
        threading.Timer(0.5, process.stdin.close).start()
        with patient.reader.ask("FROM traders") as answer:
            DuckDBWarehouse(path, lock_wait=0.0).add_traders(["0x" + "2" * 40])
            assert list(answer.rows()) == [("0x" + "1" * 40,)]


def test_an_answer_larger_than_the_memory_is_given(demo: DemoTable):
    """500,000 rows of 400 bytes, sorted, with 192 MB."""
    least = DuckDBWarehouse(demo.deployment.warehouse.path, memory=LEAST_MEMORY)
    copies = "SELECT tx_hash, n, T.* FROM trades AS T, range(24) AS r(n) ORDER BY tx_hash, id, n"
    with least.reader.ask(copies) as answer:
        first = [row[:2] for row, _ in zip(answer.rows(), range(24), strict=False)]
    assert first == [(min(t.tx_hash for t in demo.trades), n) for n in range(24)]


def test_trades_are_exported_with_all_columns_and_types(
    demo: DemoTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    here = demo.deployment.here
    whole, some = tmp_path / "trades.parquet", tmp_path / "some.CSV"
    some.write_text("older")
    assert here("export", "--to", str(whole)) == (0, "")
    said = f"{len(demo.trades):,} trades in {whole}, {whole.stat().st_size:,} bytes\n"
    assert capsys.readouterr().err == said
    frame = pl.read_parquet(whole)
    assert dict(frame.schema) == TABLE_SCHEMA
    with duckdb.connect(str(demo.deployment.warehouse.path), read_only=True) as db:
        db.execute("SET TimeZone = 'UTC'")
        table = db.execute("FROM trades ORDER BY wallet_address, id").fetchall()
    assert frame.sort("wallet_address", "id").rows() == table
    wallet = demo.world.wallets()[0]
    since = demo.world.truth(wallet)[50].timestamp
    assert here("export", "--to", str(some), "--wallet", wallet, "--since", time(since))[0] == 0
    with some.open() as file:
        rows = list(csv.DictReader(file))
    wanted = [t for t in demo.world.truth(wallet) if t.timestamp >= since]
    assert list(rows[0]) == list(TABLE_SCHEMA)
    assert {row["wallet_address"] for row in rows} == {wallet.lower()}
    exported = [(row["timestamp"], row["tx_hash"], float(row["price"])) for row in rows]
    assert sorted(exported) == sorted((time(t.timestamp), t.tx_hash, t.price) for t in wanted)
    assert {row["order_hash"] for row in rows} == {""}
    assert sorted(tmp_path.iterdir()) == [some, whole]


def test_an_export_that_is_killed_leaves_the_old_file_whole(demo: DemoTable, tmp_path: Path):
    older = tmp_path / "trades.parquet"
    older.write_bytes(b"an older export")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, "export", "--to", str(older)],
        env=demo.deployment.process_environ(),
        cwd=demo.deployment.root,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert older.read_bytes() == b"an older export"
    (left,) = tmp_path.glob(".trades.parquet.*/trades.parquet")
    assert pl.read_parquet(left).height == len(demo.trades), "it was killed at the last moment"
    assert demo.deployment.here("export", "--to", str(older))[0] == 0
    assert pl.read_parquet(older).height == len(demo.trades)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "x.txt"], "--to 'x.txt': expected a name that ends in .parquet or .csv"),
        (["--to", "nowhere/x.csv"], "--to 'nowhere/x.csv' cannot be written: No such file"),
        (["--to", "folder.csv"], "--to 'folder.csv' is a directory"),
        (["--to", "x.csv", "--wallet", "0x1"], "--wallet: not a wallet: '0x1'"),
        (["--to", "x.csv", "--since", "monday"], "--since 'monday': expected a day or a time"),
        (["--to", "x.csv", "--since", ""], "--since '': expected a day or a time"),
    ],
)
def test_an_export_that_cannot_be_is_refused_in_one_line(
    arguments: list[str], said: str, demo: DemoTable, here: Here
):
    tmp_path, capsys = here
    Path("folder.csv").mkdir()
    assert demo.deployment.here("export", *arguments) == (2, "")
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["folder.csv"]


@pytest.mark.parametrize("shape", ["--csv", "--parquet"])
def test_an_answer_that_cannot_be_written_is_said_and_blamed_on_the_output(
    shape: str, demo: DemoTable
):
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "polycopy_assets", "query", shape, "SELECT * FROM trades"],
            env=demo.deployment.process_environ(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == "polycopy: cannot write to standard output: No space left on device\n"


def test_a_letter_that_the_terminal_lacks_is_said(demo: DemoTable):
    ended = subprocess.run(
        [sys.executable, "-m", "polycopy_assets", "query", "SELECT 'é' AS name"],
        env={**demo.deployment.process_environ(), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    said = "polycopy: standard output is ascii, which lacks U+00E9: set PYTHONUTF8=1"
    assert ended.stderr.startswith(said)
    assert ended.stderr.count("\n") == 1


def test_an_export_goes_where_a_link_leads_and_leaves_the_link(demo: DemoTable, here: Here):
    (here.directory / "disk").mkdir()
    for target in ("disk/here.csv", "disk/new.csv"):
        link = here.directory / "link.csv"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        if "here" in target:
            link.write_text("an older export")
        assert demo.deployment.here("export", "--to", "link.csv")[0] == 0
        assert link.is_symlink()
        assert len(Path(target).read_text().splitlines()) == len(demo.trades) + 1
    assert len(list(here.directory.rglob("*"))) == 4, "nothing is left beside them"
    Path("loop.csv").symlink_to("loop.csv")
    assert demo.deployment.here("export", "--to", "loop.csv")[0] == 2
    Path("pipe.csv").symlink_to("/dev/null")
    assert demo.deployment.here("export", "--to", "pipe.csv")[0] == 2
    told = here.printed.readouterr().err.splitlines()[-2:]
    assert "'loop.csv' cannot be written" in told[0]
    assert told[1] == "polycopy: --to 'pipe.csv' is not a file"


@pytest.mark.parametrize("name", ["trades.parquet", "trades.csv"])
def test_a_file_on_a_full_disk_stays_what_it_was(
    name: str, demo: DemoTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / name
    file.write_text("older")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        code, _ = demo.deployment.here("export", "--to", str(file))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    told = capsys.readouterr().err
    assert (code, told.count("\n")) == (1, 1), told
    assert "File too large" in told
    assert file.read_text() == "older"
    assert list(tmp_path.iterdir()) == [file]


def test_where_there_is_no_table_that_is_said_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    empty = Deployment(tmp_path / "nothing", "http://127.0.0.1:9")
    for words in (["query", "FROM trades"], ["export", "--to", str(tmp_path / "x.csv")]):
        assert empty.here(*words) == (1, "")
        assert "there is no table trades in" in capsys.readouterr().err
    assert empty.here("export", "--table", "tips", "--to", str(tmp_path / "x.csv")) == (1, "")
    assert "makes with POLYCOPY_FEEDS=trades,tips. Is POLYCOPY_W" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_older_table_without_a_zone_is_loaded_asked_and_exported_the_same(tmp_path: Path):
    path = tmp_path / "w.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute("CREATE TABLE trades (timestamp TIMESTAMP, id VARCHAR)")
    bench = Bench(Directory(tmp_path / "store"), DuckDBWarehouse(path), duckdb_sql(path))
    manifest = bench.batch(WALLETS[0])
    bench.load()
    again = bench.table.load(manifest, bench.store)
    assert again == (manifest.rows, manifest.rows)
    ((kind, rows, first),) = bench.sql(
        "SELECT typeof(min(timestamp)), count(*), epoch(min(timestamp)) FROM {}trades"
    )
    truth = WORLD.truth(WALLETS[0])
    assert (kind, rows, first) == ("TIMESTAMP", len(truth), truth[-1].timestamp)
    with pytest.raises(WarehouseError, match="no table"):
        DuckDBWarehouse(tmp_path / "other.duckdb").reader.export(
            TRADES, WHOLE, "csv", tmp_path / "other.csv"
        )
    exported = tmp_path / "x.parquet"
    assert bench.warehouse.reader.export(TRADES, WHOLE, "parquet", exported) == len(truth)
    frame = pl.read_parquet(exported)
    assert dict(frame.schema) == TABLE_SCHEMA
    assert frame["timestamp"].dt.epoch("s").min() == truth[-1].timestamp
    with bench.warehouse.reader.ask("SELECT min(day) FROM daily_trades") as answer:
        ((day,),) = answer.rows()
    assert str(day) == time(truth[-1].timestamp)[:10]
