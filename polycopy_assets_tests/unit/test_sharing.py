"""Files and databases are for their owner alone, unless it is set otherwise."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets.record.instance import opened, prepare
from polycopy_assets.settings.shared import UMASKS
from polycopy_assets.store.local import LocalStore
from polycopy_assets.system.sharing import creating
from polycopy_assets.warehouse.duckdb.opening import reading
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse

WALLETS = ["0x" + "1" * 40]


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    """A umask that gives everything to everybody."""
    before = os.umask(0)
    yield
    assert os.umask(before) == 0, "the process's own umask is put back"


def modes(root: Path) -> dict[str, set[int]]:
    """The modes of all files and of all directories below `root`, and its own."""
    found: dict[str, set[int]] = {"files": set(), "directories": set()}
    for path in (root, *root.rglob("*")):
        kind = "directories" if path.is_dir() else "files"
        found[kind].add(stat.S_IMODE(path.stat().st_mode))
    return found


@pytest.mark.parametrize(
    ("shared", "files", "directories"),
    [("no", 0o600, 0o700), ("group", 0o660, 0o770), ("all", 0o664, 0o775)],
)
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_a_store_has_the_modes_that_are_set_whatever_the_umask(
    tmp_path: Path, shared: str, files: int, directories: int, umask: int
):
    os.umask(umask)
    store = LocalStore(tmp_path / "new" / "store", umask=UMASKS[shared])
    store.check_writable()
    store.create("trades/0x1/a.jsonl.gz", b"1")
    (tmp_path / "part").write_bytes(b"2")
    store.create_from("combined/parts/1/p.parquet", tmp_path / "part")
    os.umask(0)
    assert modes(tmp_path / "new") == {"files": {files}, "directories": {directories}}


def test_the_group_of_a_shared_store_stays_that_of_its_directory(tmp_path: Path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s").chmod(0o2770)
    LocalStore(tmp_path / "s", umask=UMASKS["group"]).create("trades/0x1/a", b"1")
    assert stat.S_IMODE((tmp_path / "s" / "trades").stat().st_mode) == 0o2770


def test_what_was_there_before_keeps_its_modes(tmp_path: Path):
    (tmp_path / "s" / "trades").mkdir(parents=True, mode=0o755)
    LocalStore(tmp_path / "s").create("trades/0x1/a", b"1")
    assert stat.S_IMODE((tmp_path / "s" / "trades").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "s/trades/0x1/a").stat().st_mode) == 0o600


def test_a_duckdb_file_its_wal_and_its_folder_are_private(tmp_path: Path):
    warehouse = DuckDBWarehouse(tmp_path / "new" / "w.duckdb")
    warehouse.add_traders(WALLETS)
    with warehouse._open() as db:
        db.execute("INSERT INTO traders SELECT 'x' FROM range(10)")
        files = {path.name for path in (tmp_path / "new").iterdir()}
        assert files == {"w.duckdb", "w.duckdb.wal"}
        assert modes(tmp_path / "new") == {"files": {0o600}, "directories": {0o700}}


def test_what_duckdb_puts_on_the_disk_for_want_of_memory_is_private(tmp_path: Path):
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb")
    warehouse.add_traders(WALLETS)
    with reading(warehouse._file) as db:
        assert db is not None
        db.execute("SET memory_limit = '60MB'")
        db.execute("SET threads = 1")
        db.execute(
            "CREATE TEMP TABLE t AS SELECT range a, md5(range::VARCHAR) b FROM range(2000000)"
        )
        spilled = modes(tmp_path / "w.duckdb.tmp")
    assert spilled == {"files": {0o600}, "directories": {0o700}}


def test_a_shared_duckdb_file_is_its_groups(tmp_path: Path):
    DuckDBWarehouse(tmp_path / "w.duckdb", umask=UMASKS["group"]).check_writable()
    assert stat.S_IMODE((tmp_path / "w.duckdb").stat().st_mode) == 0o660


def test_dagsters_home_and_its_databases_are_private(tmp_path: Path):
    with opened(str(tmp_path / "new" / "home")) as instance:
        instance.add_dynamic_partitions("wallets", WALLETS)
        instance.report_runless_asset_event(_event())
        found = modes(tmp_path / "new")
        databases = [p for p in (tmp_path / "new").rglob("*") if ".db" in p.name]
        assert {p.name for p in databases} >= {"index.db", "index.db-wal", "runs.db"}
        assert {stat.S_IMODE(p.stat().st_mode) for p in databases} == {0o600}
    # The lock is empty, and the directory keeps it.
    assert found["directories"] == {0o700}


def test_an_empty_directory_that_is_made_a_home_is_closed(tmp_path: Path):
    (tmp_path / "home").mkdir(mode=0o755)
    assert prepare(str(tmp_path / "home"))
    assert modes(tmp_path / "home") == {"files": {0o600}, "directories": {0o700}}


def test_many_threads_put_the_umask_back_once(tmp_path: Path):
    barrier = threading.Barrier(4)

    def create(number: int) -> None:
        for _ in range(200):
            with creating(0o077):
                pass
        barrier.wait(10)
        with creating(0o077):
            barrier.wait(10)
            (tmp_path / str(number)).touch()
            barrier.wait(10)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}


def _event() -> Any:
    import dagster as dg

    return dg.AssetMaterialization("wallet_trades", partition=WALLETS[0])
