"""Packs a deployment as test data: no path of the machine in it, and the same bytes each time."""

import sqlite3
import tarfile
from collections.abc import Mapping
from pathlib import Path

import duckdb

HOST = "older-host"
"""The name that the machine has in the data."""

_MOMENT = 1_790_812_800
"""When every packed file was written, for whoever unpacks it."""

_PARTS = ("dagster", "store", "warehouse.duckdb")


def pack(folder: Path, archive: Path, paths: Mapping[str, str]) -> None:
    """Writes `archive` with the home, store and table in `folder`.

    Each of `paths` is replaced in the databases; what runs have printed is left out. Raises
    ValueError if one is left anywhere.
    """
    for database in folder.glob("dagster/**/*.db"):
        _replace_in_sqlite(database, paths)
    if _named(folder / "warehouse.duckdb", paths):
        _replace_in_duckdb(folder / "warehouse.duckdb", paths)
    files = [
        path
        for part in _PARTS
        for path in sorted([folder / part, *(folder / part).rglob("*")])
        if folder / "dagster" / "storage" not in path.parents
    ]
    for path in files:
        if path.is_file() and (left := _named(path, paths)):
            raise ValueError(f"{path.name} names {', '.join(left)}")
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for path in files:
            tar.add(path, str(path.relative_to(folder)), recursive=False, filter=_nobodys)


def _replace_in_sqlite(database: Path, paths: Mapping[str, str]) -> None:
    with sqlite3.connect(database) as db:
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            columns = db.execute("SELECT name, type FROM pragma_table_info(?)", (table,))
            for column, kind in columns.fetchall():
                if kind.startswith(("TEXT", "VARCHAR")):
                    for old, new in paths.items():
                        db.execute(_replacing(table, column), (old, new, old))
    db.execute("VACUUM")  # or what was replaced stays in free pages
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def _replace_in_duckdb(file: Path, paths: Mapping[str, str]) -> None:
    new = file.with_name("replaced.duckdb")
    with duckdb.connect(str(file)) as db:
        columns = db.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE data_type = 'VARCHAR'"
            " AND NOT internal"
        )
        for table, column in columns.fetchall():
            for pair in paths.items():
                db.execute(_replacing(table, column), [*pair, pair[0]])
        # Into a new file, or what was replaced stays in free blocks.
        db.execute(f"ATTACH '{new}' AS replaced; COPY FROM DATABASE warehouse TO replaced")
    new.replace(file)


def _replacing(table: str, column: str) -> str:
    """The statement; names cannot be parameters, so they are quoted."""
    where, what = (f'"{each.replace(chr(34), chr(34) * 2)}"' for each in (table, column))
    return f"UPDATE {where} SET {what} = replace({what}, ?, ?) WHERE instr({what}, ?) > 0"


def _named(file: Path, paths: Mapping[str, str]) -> list[str]:
    content = file.read_bytes()
    return [each for each in paths if each.encode() in content]


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = _MOMENT
    return member
