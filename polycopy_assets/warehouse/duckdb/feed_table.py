"""The table of a feed in a DuckDB file, and the table beside it that names its batches."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from typing import Any

import duckdb

from polycopy_assets.errors import BatchBroken, WarehouseFull, WrongTable
from polycopy_assets.feeds.base import Feed
from polycopy_assets.ledger.facts import Tally
from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.warehouse.duckdb.batches_table import noted
from polycopy_assets.warehouse.duckdb.catalogue import columns, set_moment
from polycopy_assets.warehouse.duckdb.claims_files import claims_file, claims_table
from polycopy_assets.warehouse.duckdb.file import DuckDBFile
from polycopy_assets.warehouse.duckdb.opening import check_table, reading, writing
from polycopy_assets.warehouse.duckdb.results import changed
from polycopy_assets.warehouse.duckdb.sql_files import only, sql
from polycopy_assets.warehouse.feed_table import Duplicates, Held, Loaded, Months, Parts


class DuckDBTable:
    """The table of `feed`; see `warehouse.feed_table.FeedTable`."""

    worth_loading = 125_000
    cost = None

    def __init__(self, file: DuckDBFile, feed: Feed) -> None:
        self._file = file
        self.feed = feed
        self.uri = file.uri

    def describe(self) -> None:
        """Nothing: it is done whenever the file is opened to write."""

    def held(self) -> Held:
        """The batches that the table holds, and the store they come from."""
        with reading(self._file) as db:
            if db is None or not columns(db, self.feed.batches):
                return Held()
            found = noted(db, self.uri, self.feed)
            filled = bool(columns(db, self.feed.table)) and bool(
                db.execute(self._sql("any_row")).fetchone()
            )
        lost = not filled and any(item.rows for item in found)
        stores = [item.store for item in found if item.store]
        return Held(
            {} if lost else {item.batch: item.rows for item in found},
            stores[-1] if stores else None,
        )

    def loaded_batches(self) -> set[int]:
        """Numbers of the batches that the table holds."""
        return set(self.held().batches)

    def take_over(self, store: str) -> None:
        """Marks the batches that the table holds as those of the store with id `store`."""
        with writing(self._file, (self.feed,)) as db:
            db.execute(self._sql("take_over"), {"store": store})

    def forget_batches(self) -> None:
        """Empties the table that says which batches this one holds."""
        with writing(self._file, (self.feed,)) as db:
            db.execute(self._sql("forget_from"), {"batch": None})

    def load(
        self, manifest: Manifest, parts: Parts, of: str | None = None, digest: str | None = None
    ) -> Loaded:
        """Replaces what the batch claims with its rows, in one transaction.

        A batch whose files have large row groups may not fit into the memory with several threads.
        """
        del digest  # not kept
        try:
            return self._load(manifest, parts, of)
        except WarehouseFull:
            with self._file.connected(read_only=False) as db:
                db.execute(self._sql("one_thread"))  # for the rest of this process
            return self._load(manifest, parts, of)

    def _load(self, manifest: Manifest, parts: Parts, of: str | None) -> Loaded:
        with ExitStack() as files:
            claims = files.enter_context(claims_file(manifest.claims))
            paths = [only(files.enter_context(parts.local(p.name))) for p in manifest.parts]
            db = files.enter_context(writing(self._file, (self.feed,)))
            db.execute(self._sql("stage_claims"), {"claims": only(claims)})
            db.execute("BEGIN")
            self._refuse_others(db, of)
            deleted = changed(db.execute(self._sql("delete_claimed")))
            inserted = 0
            if paths:
                inserted = changed(db.execute(self._sql("insert_parts"), {"parts": paths}))
            if inserted != manifest.rows:
                why = (
                    f"{inserted:,} of {counted(manifest.rows, 'row')} are in its parts and claimed"
                )
                raise BatchBroken(manifest.batch, why)
            new = {"batch": manifest.batch, "rows": manifest.rows, "store": of}
            db.execute(self._sql("forget_from"), {"batch": manifest.batch})
            db.execute(self._sql("record_batch"), new)
            db.execute(self._sql("note_empty"))
            db.execute("COMMIT")
        return Loaded(inserted, deleted)

    def _refuse_others(self, db: duckdb.DuckDBPyConnection, of: str | None) -> None:
        """Raises WrongTable if a batch of another store than `of` has been loaded meanwhile."""
        other = db.execute(self._sql("other_store"), {"store": of}).fetchone()
        if other:
            raise WrongTable(self.feed.table, self.uri, other[0], of)

    def count_rows(self) -> int:
        """Rows in the table."""
        return sum(row[0] for row in self._read("count_rows"))

    def has_rows(self, number: int) -> bool:
        """Whether the table has at least `number` rows."""
        return self.count_rows() >= number

    def rows_by_wallet(self) -> Mapping[str, int]:
        """Rows in the table for each `wallet_address`."""
        return dict(self._read("rows_by_wallet"))

    def conditions(self) -> set[str]:
        """Every `condition_id` of the table."""
        return {row[0] for row in self._read("conditions")}

    def rows_by_month(self) -> Months:
        """Rows in the table for each month."""
        return Months(dict(self._read("rows_by_month")))

    def tally(
        self, claims: Mapping[str, int], *, by_id: bool = False
    ) -> list[tuple[str | None, Tally]]:
        """The rows of the table, counted for each `wallet_address`, whatever its case."""
        del by_id  # always
        with claims_table(claims) as path, reading(self._file) as db:
            found = columns(db, self.feed.table) if db is not None else set[str]()
            if db is None or not found:
                return []
            check_table(db, self.uri, self.feed)
            set_moment(db, self.feed)
            statement = self._sql("tally" if "source" in found else "tally_without_source")
            rows = db.execute(statement, {"claims": only(path)}).fetchall()
        return [(row[0], Tally(*row[1:])) for row in rows]

    def delete_mixed_case(self, claims: Mapping[str, int]) -> int:
        """Deletes the rows inside `claims` whose address is not in lower case; returns how many."""
        with claims_table(claims) as path, writing(self._file, (self.feed,)) as db:
            return changed(db.execute(self._sql("delete_mixed_case"), {"claims": only(path)}))

    def loaded_rows(self, wallets: Collection[str]) -> Mapping[str, int]:
        """How many rows of the table we loaded for each of `wallets` that has any."""
        with reading(self._file) as db:
            if not wallets or db is None or "source" not in columns(db, self.feed.table):
                return {}
            return dict(db.execute(self._sql("loaded_rows"), self._whose(wallets)).fetchall())

    def delete_loaded(self, wallets: Collection[str]) -> int:
        """Deletes the rows that `loaded_rows` counts; returns how many."""
        with writing(self._file, (self.feed,)) as db:
            return changed(db.execute(self._sql("delete_loaded"), self._whose(wallets)))

    def duplicates(self, limit: int) -> Duplicates:
        """Ids that occur more than once in the table, at most `limit` of them."""
        return Duplicates(self._read("duplicates", {"limit": limit}))

    def _read(
        self, name: str, parameters: Mapping[str, object] | None = None
    ) -> list[tuple[Any, ...]]:
        """The rows of statement `name`; none if there is no table."""
        with reading(self._file) as db:
            if db is None or not columns(db, self.feed.table):
                return []
            return db.execute(self._sql(name), parameters or {}).fetchall()

    def _sql(self, name: str) -> str:
        return sql(name, self.feed)

    def _whose(self, wallets: Collection[str]) -> dict[str, list[str]]:
        return {"wallets": list(wallets), "sources": sorted(self.feed.shapes.sources)}
