"""A statement of the double: GoogleSQL by sqlglot, DuckDB beneath, and what it would bill."""

import math
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import duckdb
from sqlglot import exp, parse_one

from polycopy_assets_tests.fakes.bigquery.model import Job, JobError, Name, Table

if TYPE_CHECKING:
    from polycopy_assets_tests.fakes.bigquery.engine import Engine

MIB = 2**20
Expression = Any  # sqlglot's own, which it does not export
_FROM_DUCKDB = {
    "VARCHAR": "STRING",
    "TIMESTAMP": "TIMESTAMP",
    "DOUBLE": "FLOAT",
    "BIGINT": "INTEGER",
    "HUGEINT": "INTEGER",
    "DATE": "DATE",
    "BOOLEAN": "BOOLEAN",
}


class Statement:
    """One GoogleSQL statement on its way to DuckDB."""

    def __init__(
        self,
        engine: "Engine",
        tree: Expression,
        values: Mapping[str, Expression],
        default: Mapping[str, str] | None,
        project: str,
    ) -> None:
        self._engine = engine
        self._default = default
        self._project = project
        self.values = {name: value.sql() for name, value in values.items()}
        given = set()

        def fill(node: Expression) -> Expression:
            if isinstance(node, exp.Parameter):
                name = node.this.name
                if name not in values:
                    raise JobError("invalidQuery", f"Query parameter '{name}' not found")
                given.add(name)
                return values[name].copy()
            if isinstance(node, exp.Trim) and node.expression is None:
                # DuckDB takes away spaces where BigQuery takes away all white space.
                node.set("expression", exp.Literal.string(string.whitespace))
            return node

        self.tree = tree.transform(fill)

    @property
    def target(self) -> Table | None:
        """The table that a DML statement changes."""
        changing = exp.Merge | exp.Insert | exp.Delete | exp.Update | exp.TruncateTable
        if not isinstance(self.tree, changing):
            return None
        node = self.tree.find(exp.Table)
        return self._resolve(node) if node else None

    @property
    def kind(self) -> str:
        """What BigQuery calls it."""
        if isinstance(self.tree, exp.Query):
            return "SELECT"
        if isinstance(self.tree, exp.Create):
            return "CREATE_TABLE_AS_SELECT" if self.tree.expression else "CREATE_TABLE"
        return "DROP_TABLE" if isinstance(self.tree, exp.Drop) else self.tree.key.upper()

    @property
    def mutates(self) -> bool:
        """Whether it is DML of the kind of which two run at a time on a table."""
        return isinstance(self.tree, exp.Merge | exp.Delete | exp.Update)

    def tables(self) -> list[Table]:
        """The tables that it names; raises JobError for one that is not there."""
        if isinstance(self.tree, exp.Create | exp.Drop):
            return []
        found = {table.name: table for node in self._nodes() for table in [self._resolve(node)]}
        return list(found.values())

    def _nodes(self) -> list[exp.Table]:
        """Where it names a table; a name that it gives itself in WITH is none."""
        own = {cte.alias for cte in self.tree.find_all(exp.CTE)}
        return [n for n in self.tree.find_all(exp.Table) if n.name and n.name not in own]

    def _name(self, node: exp.Table) -> Name:
        default = self._default or {}
        dataset = node.db or default.get("datasetId", "")
        return (node.catalog or default.get("projectId") or self._project, dataset, node.name)

    def _resolve(self, node: exp.Table) -> Table:
        name = self._name(node)
        table = self._engine.table(name)
        if table is None:
            raise JobError("notFound", f"Not found: Table {name[0]}:{name[1]}.{name[2]}")
        return table

    def bytes(self) -> int:
        """What it would process: columns it names, in partitions that its bounds leave."""
        if isinstance(self.tree, exp.Create | exp.Drop):
            return 0
        names = {node.name.lower() for node in self.tree.find_all(exp.Column)}
        star = any(not isinstance(node.parent, exp.Count) for node in self.tree.find_all(exp.Star))
        target = self.target
        whens = self.tree.args.get("whens")
        takes = isinstance(self.tree, exp.Delete | exp.Update) or (
            whens is not None and any("MATCHED THEN DELETE" in w.sql() for w in whens.expressions)
        )
        total = 0
        for node in self._nodes():
            table = self._resolve(node)
            if table.kind == "VIEW":  # bills what its own query reads
                job = Job("view", "query", self._project, "", {"query": {"query": table.view}})
                total += sum(each.bytes() for each in self._engine.parse(job))
                continue
            every = star or (takes and target is table)
            if (
                isinstance(self.tree, exp.Insert)
                and table is target
                and not node.find_ancestor(exp.Select)
            ):
                continue
            alias = node.alias or node.name
            if table.filtered and not self._partitions(table, alias):
                raise JobError(
                    "invalidQuery",
                    f"Cannot query over table '{'.'.join(table.name)}' without a filter over"
                    f" column(s) '{table.partition}' that can be used for partition elimination",
                )
            columns = [c for c in table.schema if every or c["name"].lower() in names]
            total += self._size(table, columns, alias)
        return total

    def _size(self, table: Table, columns: Sequence[Mapping[str, Any]], alias: str) -> int:
        if not columns:
            return 0
        sizes = " + ".join(
            f'COALESCE(SUM({_width(column)} * ("{column["name"]}" IS NOT NULL)::INT), 0)'
            for column in columns
        )
        where = self._partitions(table, alias)
        row = self._engine.db.execute(f"SELECT {sizes} FROM {table.physical} {where}").fetchone()
        return int(row[0]) if row else 0

    def _partitions(self, table: Table, alias: str) -> str:
        """The partitions that constant bounds on their column leave, as a condition."""
        column = table.partition
        if column is None:
            return ""
        start, bounds = f"date_trunc('{table.unit}', \"{column}\")", []
        for node in self.tree.find_all(exp.GTE, exp.GT, exp.LT, exp.LTE, exp.Is):
            this, other = node.this, node.expression
            if not (
                isinstance(this, exp.Column)
                and this.name.lower() == column
                and this.table in {"", alias}
            ):
                continue
            if isinstance(node, exp.Is):
                if isinstance(node.parent, exp.Where) and isinstance(other, exp.Null):
                    bounds.append(f'"{column}" IS NULL')
                continue
            if not (isinstance(other, exp.Cast) and isinstance(other.this, exp.Literal)):
                continue
            moment = f"CAST('{other.this.this}' AS TIMESTAMP)"
            if isinstance(node, exp.GTE | exp.GT):
                bounds.append(f"{start} >= date_trunc('{table.unit}', {moment})")
            else:
                sign = "<=" if isinstance(node, exp.LTE) else "<"
                bounds.append(f"{start} {sign} {moment}")
        return f"WHERE {' AND '.join(bounds)}" if bounds else ""

    def billed(self, job: Job, cap: int | None) -> int:
        """What `job` bills for it; notes what it processes, and raises JobError above the cap."""
        job.bytes_processed = self.bytes()
        billed = 0
        if job.bytes_processed:
            billed = max(math.ceil(job.bytes_processed / MIB), 10 * len(self.tables())) * MIB
        if cap is not None and billed > cap:
            raise JobError(
                "bytesBilledLimitExceeded",
                f"Query exceeded limit for bytes billed: {cap}. {billed} or higher required.",
            )
        return billed

    def run(self, job: Job) -> None:
        """Runs it, whole or not at all."""
        db = self._engine.db
        db.execute("BEGIN")
        try:
            self.perform(job, db)
            db.execute("COMMIT")
        except duckdb.Error as error:
            db.execute("ROLLBACK")
            raise JobError("invalidQuery", str(error)) from error
        except BaseException:  # a defect of the double must not leave its transaction open
            db.execute("ROLLBACK")
            raise
        if self.target is not None:
            self.target.touch()

    def perform(self, job: Job, db: duckdb.DuckDBPyConnection) -> None:
        """Runs it in the transaction of `db`."""
        if isinstance(self.tree, exp.Delete | exp.Update) and not self.tree.args.get("where"):
            raise JobError("invalidQuery", f"{self.tree.key.upper()} must have a WHERE clause")
        if self.target is not None:
            self._engine.refuse_hidden(self.tables())
        changed = self.target if self.mutates else None
        if changed is not None and changed.streamed and changed.streamed > datetime.now(UTC):
            raise JobError(
                "invalidQuery",
                f"UPDATE or DELETE statement over table {'.'.join(changed.name)} would affect rows"
                " in the streaming buffer, which is not supported",
            )
        if isinstance(self.tree, exp.Merge):
            self._merge(job, db)
        elif isinstance(self.tree, exp.Create | exp.Drop):
            self._define()
        else:
            self._collect(job, db.execute(self.local(self.tree)))

    def _define(self) -> None:
        node = self.tree.find(exp.Table)
        assert node is not None
        name = self._name(node)
        if isinstance(self.tree, exp.Drop):
            self._resolve(node)
            self._engine.drop(name)
            return
        if self._engine.table(name) is not None:
            if self.tree.args.get("exists"):
                return
            raise JobError("duplicate", f"Already Exists: Table {'.'.join(name)}")
        location = self._engine.datasets.get(name[:2])
        if location is None:
            raise JobError("notFound", f"Not found: Dataset {name[0]}:{name[1]}")
        self._engine.db.execute(self.local(self.tree))
        table = Table(name, [], location)
        table.schema = self.columns_of(table)
        self._engine.add(table)

    def columns_of(self, table: Table) -> list[dict[str, Any]]:
        """The columns that a table or view has in DuckDB, as fields."""
        rows = self._engine.db.execute(f"DESCRIBE {table.physical}").fetchall()
        return [{"name": r[0], "type": _kind(r[1]), "mode": "NULLABLE"} for r in rows]

    def _merge(self, job: Job, db: duckdb.DuckDBPyConnection) -> None:
        merge = self.tree
        target, source = self.local(merge.this), self.local(merge.args["using"])
        condition = self.local(merge.args["on"])
        alias = merge.this.alias or merge.this.name
        twice = db.execute(
            f"SELECT 1 FROM {target} JOIN {source} ON {condition}"
            f" GROUP BY {alias}.rowid HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        if twice:
            raise JobError(
                "invalidQuery",
                "UPDATE/MERGE must match at most one source row for each target row",
            )
        result = db.execute(f"{self.local(merge)} RETURNING merge_action")
        actions = [row[0] for row in result.fetchall()]
        job.dml = True
        job.inserted = sum(action == "INSERT" for action in actions)
        job.deleted = sum(action == "DELETE" for action in actions)

    def _collect(self, job: Job, result: duckdb.DuckDBPyConnection) -> None:
        rows = result.fetchall()
        if self.target is not None:
            job.dml = True
            changed = int(rows[0][0]) if rows else 0
            if isinstance(self.tree, exp.Insert):
                job.inserted = changed
            else:
                job.deleted = changed
            return
        job.rows = rows
        job.schema = [
            {"name": item[0], "type": _kind(str(item[1])), "mode": "NULLABLE"}
            for item in result.description or []
        ]

    def local(self, tree: Expression) -> str:
        """A statement as DuckDB takes it, with the names that its tables have there."""

        def local(node: Expression) -> Expression:
            if isinstance(node, exp.Table) and node.name:
                name = ".".join(self._name(node))
                if tuple(self._name(node)) in self._engine.tables or isinstance(
                    self.tree, exp.Create
                ):
                    table = self._engine.tables.get(self._name(node))
                    if table is not None and table.shown is not None and self.target is None:
                        seen = f"SELECT * FROM {table.physical} WHERE {table.shown}"
                        return exp.Subquery(
                            this=parse_one(seen, read="duckdb"), alias=node.args.get("alias")
                        )
                    return exp.Table(
                        this=exp.to_identifier(name, quoted=True), alias=node.args.get("alias")
                    )
            if isinstance(node, exp.CountIf) and not isinstance(node.parent, exp.Coalesce):
                # DuckDB counts no rows as NULL where BigQuery counts them as 0.
                return exp.Coalesce(this=node.copy(), expressions=[exp.Literal.number(0)])
            if isinstance(node, exp.DataType) and node.this == exp.DataType.Type.TIMESTAMPTZ:
                return exp.DataType.build("TIMESTAMP", dialect="duckdb")
            return node

        return tree.transform(local).sql(dialect="duckdb")


def _kind(duckdb: str) -> str:
    """The type of an answer's column."""
    return "NUMERIC" if duckdb.startswith("DECIMAL") else _FROM_DUCKDB.get(duckdb, "STRING")


def _width(column: Mapping[str, Any]) -> str:
    kind = column["type"].upper()
    if kind == "STRING":
        return f'(2 + strlen("{column["name"]}"))'
    return "1" if kind in {"BOOL", "BOOLEAN"} else "8"


def literal(item: Mapping[str, Any]) -> Expression:
    """A query parameter as a literal."""
    kind, value = item["parameterType"], item["parameterValue"]
    if kind["type"] == "ARRAY":
        inner = kind["arrayType"]
        values = [
            literal({"parameterType": inner, "parameterValue": each})
            for each in value.get("arrayValues", [])
        ]
        array = exp.Array(expressions=values)
        return array if values else exp.cast(array, "ARRAY<STRING>", dialect="bigquery")
    if kind["type"] == "STRUCT":
        fields = {field["name"]: field["type"] for field in kind["structTypes"]}
        return exp.Struct(
            expressions=[
                exp.PropertyEQ(
                    this=exp.to_identifier(name),
                    expression=literal({"parameterType": fields[name], "parameterValue": inner}),
                )
                for name, inner in value["structValues"].items()
            ]
        )
    return _scalar(kind["type"], value.get("value"))


def _scalar(kind: str, value: str | None) -> Expression:
    if value is None:
        return exp.null()
    if kind == "STRING":
        return exp.Literal.string(value)
    if kind in {"INT64", "FLOAT64"}:
        return exp.Literal.number(value)
    if kind in {"BOOL", "BOOLEAN"}:
        return exp.true() if str(value).lower() == "true" else exp.false()
    if kind == "TIMESTAMP":
        moment = datetime.fromisoformat(value.replace(" UTC", "+00:00"))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        naive = datetime(1, 1, 1) + (moment - datetime(1, 1, 1, tzinfo=UTC))  # noqa: DTZ001
        return exp.cast(exp.Literal.string(naive.isoformat(" ")), "TIMESTAMP", dialect="duckdb")
    raise JobError("invalidQuery", f"the double knows no parameter of type {kind}")
