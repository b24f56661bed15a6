"""A multi-statement query of the double, with its transaction.

From https://cloud.google.com/bigquery/docs/transactions: reads see the tables as they were when the
transaction began; a statement that fails ends the query and rolls the transaction back; "if a
transaction mutates (update or deletes) rows in a table, then other transactions or DML statements
that mutate rows in the same table cannot run concurrently. Conflicting transactions are cancelled."
Tables cannot be created or dropped inside.

What a cap of bytes means for several statements is not documented. The double takes the stricter
way: all of them together may bill so much, and what ran before stays billed.
"""

import uuid
from collections.abc import Callable, Sequence

import duckdb
from sqlglot import exp

from polycopy_assets_tests.fakes.bigquery.engine import Engine
from polycopy_assets_tests.fakes.bigquery.model import Job, JobError, Table
from polycopy_assets_tests.fakes.bigquery.statement import Statement


class Script:
    """Several statements of one query job. `before` is called before each, and may raise."""

    def __init__(
        self,
        engine: Engine,
        statements: Sequence[Statement],
        before: Callable[[Job, str], None],
    ) -> None:
        self._engine = engine
        self._statements = statements
        self._before = before
        self._open = False
        self._changed: list[Table] = []

    def run(self, job: Job) -> None:
        """Runs them in order; raises JobError, with nothing of an open transaction done."""
        db = self._engine.db.cursor()
        try:
            for statement in self._statements:
                self._before(job, statement.tree.sql(comments=False))
                with self._engine.lock:
                    self._step(job, statement, db)
        except duckdb.Error as error:
            raise JobError("invalidQuery", f"Query error: {error}") from error
        finally:
            with self._engine.lock:
                if self._open:
                    db.execute("ROLLBACK")
                self._release(job)
                db.close()

    def _step(self, job: Job, statement: Statement, db: duckdb.DuckDBPyConnection) -> None:
        if isinstance(statement.tree, exp.Transaction):
            db.execute("BEGIN")
            db.execute("SELECT count(*) FROM duckdb_tables()")  # the snapshot is taken now
            self._open = True
            return
        if isinstance(statement.tree, exp.Commit):
            try:
                db.execute("COMMIT")
            except duckdb.Error as error:
                self._open = False
                raise self._cancelled(self._changed[0]) from error
            self._open = False
            for table in self._changed:
                table.touch()
            self._release(job)
            return
        if not self._open:
            raise JobError("invalidQuery", "the double runs several statements in transactions")
        if isinstance(statement.tree, exp.Create | exp.Drop):
            raise JobError("invalidQuery", "DDL is not supported inside a transaction")
        child = Job(f"script_job_{uuid.uuid4().hex}", "query", job.project, job.location, {})
        left = None
        if job.maximum_bytes_billed is not None:
            left = job.maximum_bytes_billed - job.bytes_billed
        child.bytes_billed = statement.billed(child, left)
        self._claim(job, statement)
        try:
            statement.perform(child, db)
        except duckdb.TransactionException as error:
            target = statement.target
            assert target is not None
            raise self._cancelled(target) from error
        job.children.append(child)
        job.bytes_processed += child.bytes_processed
        job.bytes_billed += child.bytes_billed
        job.schema, job.rows = child.schema, child.rows

    def _claim(self, job: Job, statement: Statement) -> None:
        """Notes the table that it changes; another transaction that changes it is cancelled."""
        target = statement.target
        if target is None:
            return
        self._changed.append(target)
        changing = self._engine.changing
        if statement.mutates and changing.setdefault(target.name, job.id) != job.id:
            raise self._cancelled(target)

    def _cancelled(self, table: Table) -> JobError:
        project, dataset, name = table.name
        return JobError(
            "invalidQuery",
            "Query error: Transaction is aborted due to concurrent update against table"
            f" {project}:{dataset}.{name}. Transaction ID: {uuid.uuid4()}",
        )

    def _release(self, job: Job) -> None:
        for name in [name for name, owner in self._engine.changing.items() if owner == job.id]:
            del self._engine.changing[name]
        self._engine.released.notify_all()
