"""The table `leaderboard` in a DuckDB file."""

from datetime import UTC, datetime

from polycopy_assets.boards.snapshot import Key, Snapshot
from polycopy_assets.warehouse.base import snapshot_values
from polycopy_assets.warehouse.duckdb.file import DuckDBFile
from polycopy_assets.warehouse.duckdb.sql_files import sql


class DuckDBBoards:
    """See `warehouse.base.BoardTable`."""

    def __init__(self, file: DuckDBFile) -> None:
        self._file = file

    def held(self) -> set[Key]:
        """The snapshots that the table has rows of; none if there is no table."""
        if not self._file.exists():
            return set()
        with self._file.connected(read_only=True) as db:
            if not db.execute(sql("has_table"), {"table": "leaderboard"}).fetchall():
                return set()
            rows = db.execute(sql("held_snapshots")).fetchall()
        return {Key(at.date(), *board) for at, *board in rows}

    def load(self, snapshot: Snapshot) -> None:
        """Replaces what the table has of the snapshot's board and day, in one transaction."""
        values = {
            name: _naive(value) if isinstance(value, datetime) else value
            for name, value in snapshot_values(snapshot).items()
        }
        inserted = {
            "ranks": [entry.rank for entry in snapshot.entries],
            "wallets": [entry.wallet for entry in snapshot.entries],
            "names": [entry.name for entry in snapshot.entries],
            "pnls": [entry.pnl for entry in snapshot.entries],
            "volumes": [entry.volume for entry in snapshot.entries],
        }
        at = values.pop("snapshot_at")
        board = {name: values[name] for name in ("time_period", "sort_by", "category")}
        with self._file.connected(read_only=False) as db:
            db.execute(sql("create_leaderboard"))
            db.execute("BEGIN")
            db.execute(sql("delete_snapshot"), values)
            db.execute(sql("insert_snapshot"), {"snapshot_at": at, **board, **inserted})
            db.execute("COMMIT")


def _naive(moment: datetime) -> datetime:
    """The same time as the table has it: UTC, without a zone."""
    return moment.astimezone(UTC).replace(tzinfo=None)
