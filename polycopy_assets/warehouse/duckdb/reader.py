"""Reading a DuckDB file for people: queries of theirs, and rows of a feed as a file.

A query runs on a DuckDB of its own, with the file attached to read and with every other access to
files and every setting locked. The file is held while the query runs, and no longer: its answer
lies in memory, or beside it on the disk, however slowly it is read.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from polycopy_assets.errors import QueryRefused, WarehouseError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.system.processors import processors
from polycopy_assets.text import said_by
from polycopy_assets.warehouse.duckdb.attached import THREAD_MB
from polycopy_assets.warehouse.duckdb.catalogue import columns, set_moment
from polycopy_assets.warehouse.duckdb.column_texts import kinds
from polycopy_assets.warehouse.duckdb.file import DuckDBFile
from polycopy_assets.warehouse.duckdb.sql_files import sql as _sql
from polycopy_assets.warehouse.joined import lacking, no_table
from polycopy_assets.warehouse.reading import Form, Selection

_SHARE = 0.5
"""DuckDB's part of the memory that the command may use."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MISSING = re.compile(r"Table with name (\w+) does not exist")
"""What DuckDB says of a table or view that a query names."""

_ROWS = 5_000
"""Rows that are read at a time."""

_FORMS: dict[Form, str] = {
    "csv": "FORMAT csv, HEADER true",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}


class DuckDBAnswer:
    """The rows of a query, in table `answer` of a DuckDB; see `warehouse.reading.Answer`."""

    def __init__(self, db: duckdb.DuckDBPyConnection, file: DuckDBFile, folder: Path) -> None:
        self._db = db
        self._file = file
        self._folder = folder
        self.names: Sequence[str] = [
            str(column[0]) for column in db.execute("FROM answer LIMIT 0").description or ()
        ]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows, some at a time."""
        with self._file.translated():
            found = self._db.execute("FROM answer")
            while some := found.fetchmany(_ROWS):
                yield from some

    def write_parquet(self, path: Path) -> None:
        """Writes the rows to a file."""
        made = _parquet_in(self._folder)
        with self._file.translated():
            self._db.execute(f"COPY answer TO $path ({_FORMS['parquet']})", {"path": str(made)})
        shutil.copyfile(made, path)


class DuckDBReader:
    """Reads one DuckDB file; see `warehouse.reading.Reader`."""

    def __init__(self, file: DuckDBFile) -> None:
        self._file = file

    def estimate(self, sql: str) -> None:
        """Nothing is billed here; raises QueryRefused unless the statement is one SELECT."""
        with closing(duckdb.connect(":memory:")) as db:
            _only_select(db, sql)

    @contextmanager
    def ask(self, sql: str) -> Iterator[DuckDBAnswer]:
        """Runs a query; the file is free again when its answer can be read."""
        self._check_there()
        with tempfile.TemporaryDirectory(prefix="polycopy-") as name:
            folder = Path(name)
            with closing(self._started(folder)) as db:
                statement = _only_select(db, sql)
                self._file.when_free(lambda: db.execute(_sql("attach_to_read"), self._path))
                with self._file.translated():
                    db.execute(_sql("connected"))
                    db.execute("SET allowed_paths = $paths", {"paths": [str(_parquet_in(folder))]})
                    db.execute(_sql("lock_down"))
                    try:
                        db.sql(statement).create("memory.main.answer")
                    except duckdb.CatalogException as error:
                        raise self._explained(db, error) from error
                    db.execute("USE memory")
                    db.execute(_sql("detach"))
                yield DuckDBAnswer(db, self._file, folder)

    def export(self, feed: Feed, chosen: Selection, form: Form, path: Path) -> int:
        """Writes rows of a feed to a file; the file of the table is held until it is written."""
        self._check_there(feed.table)
        with self._file.connected(read_only=True) as db:
            there = columns(db, feed.table)
            if not there:
                raise self._no_table(feed.table)
            set_moment(db, feed)
            db.execute("SET preserve_insertion_order = false")  # else rows are held back
            select = ", ".join(
                _column(name, kind, there, form) for name, kind in feed.frame().table.items()
            )
            parameters: dict[str, object] = {"path": str(path)}
            whose = since = "TRUE"
            if chosen.wallets:
                whose = "wallet_address IN (SELECT unnest($wallets::VARCHAR[]))"
                parameters["wallets"] = list(chosen.wallets)
            if chosen.since is not None:
                since = '"timestamp" >= moment($since)'
                parameters["since"] = (chosen.since - _EPOCH) // timedelta(microseconds=1)
            copy = _sql("export", feed, columns=select, whose=whose, since=since, form=_FORMS[form])
            copied = db.execute(copy, parameters).fetchone()
        return int(copied[0]) if copied else 0

    @property
    def _path(self) -> dict[str, str]:
        return {"path": str(self._file.path)}

    def _started(self, folder: Path) -> duckdb.DuckDBPyConnection:
        """A DuckDB without the file, which keeps in `folder` what does not fit into memory."""
        limit = int(self._file.memory * _SHARE)
        return duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "python_enable_replacements": False,  # a name could mean a variable of ours
                "memory_limit": f"{limit}MiB",
                "threads": max(1, min(processors(), limit // THREAD_MB)),
                "temp_directory": str(folder / "spill"),
            },
        )

    def _check_there(self, table: str = TRADES.table) -> None:
        if not self._file.exists():
            raise self._no_table(table)

    def _explained(self, db: duckdb.DuckDBPyConnection, error: duckdb.Error) -> Exception:
        """What makes the table or view that a query lacks; `error` itself if it is none of ours."""
        missing = _MISSING.search(str(error))
        there = {name for (name,) in db.execute(_sql("tables")).fetchall()}
        said = lacking(missing[1].lower(), there, self._file.uri) if missing else None
        return WarehouseError(said) if said else error

    def _no_table(self, table: str) -> WarehouseError:
        return WarehouseError(
            f"{no_table(table, self._file.uri)}. Is POLYCOPY_WAREHOUSE right, and are you in the"
            " right directory?"
        )


def _only_select(db: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The statement without what stands behind it; raises QueryRefused unless it is one SELECT."""
    try:
        statements = db.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryRefused(f"DuckDB does not take the query: {said_by(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = [item.type.name for item in statements]
        raise QueryRefused(
            "only one statement that reads is accepted, such as SELECT:"
            f" {', '.join(kinds) or 'nothing'} was given"
        )
    text = sql.encode()
    for place, kind in reversed(duckdb.tokenize(sql)):
        if kind == duckdb.token_type.comment:
            continue
        return (text[:place] if text[place : place + 1] == b";" else text).decode()
    return sql


def _parquet_in(folder: Path) -> Path:
    return folder / "answer.parquet"


def _column(name: str, kind: pl.DataType, there: set[str], form: Form) -> str:
    """A column of the export, as SQL."""
    if isinstance(kind, pl.Datetime):
        return _time(name if name in there else "NULL::TIMESTAMP", form) + f' AS "{name}"'
    value = f'"{name}"' if name in there else "NULL"
    return f'CAST({value} AS {kinds(kind)[0]}) AS "{name}"'


def _time(value: str, form: Form) -> str:
    micros = f"epoch_us({value})"
    if form == "parquet":
        return f"make_timestamptz({micros})"
    whole, parts = (
        f"strftime(make_timestamp({micros}), '%Y-%m-%dT%H:%M:%S{rest}Z')" for rest in ("", ".%f")
    )
    return f"CASE WHEN {micros} % 1000000 = 0 THEN {whole} ELSE {parts} END"
