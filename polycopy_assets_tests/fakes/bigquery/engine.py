"""The data of the double: tables in DuckDB, GoogleSQL by sqlglot, and what a query would bill."""

import math
import string
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from sqlglot import exp
from sqlglot.errors import ParseError

MIB = 2**20
Name = tuple[str, str, str]
Expression = Any  # sqlglot's own, which it does not export
_TO_DUCKDB = {
    "STRING": "VARCHAR",
    "TIMESTAMP": "TIMESTAMP",
    "FLOAT64": "DOUBLE",
    "FLOAT": "DOUBLE",
    "INT64": "BIGINT",
    "INTEGER": "BIGINT",
    "BOOL": "BOOLEAN",
    "BOOLEAN": "BOOLEAN",
}
_FROM_DUCKDB = {
    "VARCHAR": "STRING",
    "TIMESTAMP": "TIMESTAMP",
    "DOUBLE": "FLOAT",
    "BIGINT": "INTEGER",
    "HUGEINT": "INTEGER",
    "DATE": "DATE",
    "BOOLEAN": "BOOLEAN",
}
_SHORT = {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL"}
_IN_PARQUET = {
    "STRING": {"VARCHAR"},
    "TIMESTAMP": {"TIMESTAMP WITH TIME ZONE"},
    "FLOAT64": {"DOUBLE", "FLOAT"},
    "INT64": {"BIGINT", "INTEGER"},
    "BOOL": {"BOOLEAN"},
}


class JobError(Exception):
    """What a job ends in: BigQuery's reason and message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass
class Table:
    """A table's metadata; `version` changes with every change of metadata or rows."""

    name: Name
    schema: list[dict[str, Any]]
    location: str
    partition: str | None = None
    clustering: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    expires: datetime | None = None
    kind: str = "TABLE"
    version: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def physical(self) -> str:
        """Its name in DuckDB, quoted."""
        return '"' + ".".join(self.name) + '"'

    def touch(self) -> None:
        """Notes a change."""
        self.version = uuid.uuid4().hex


@dataclass
class Job:
    """A job that ran, runs or waits."""

    id: str
    kind: str
    project: str
    location: str
    configuration: dict[str, Any]
    state: str = "PENDING"
    error: JobError | None = None
    bytes_processed: int = 0
    bytes_billed: int = 0
    cache_hit: bool = False
    inserted: int = 0
    deleted: int = 0
    dml: bool = False
    output_rows: int = 0
    schema: list[dict[str, Any]] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    created: float = field(default_factory=time.time)
    span: tuple[float, float] = (0.0, 0.0)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.configuration.get("labels", {})

    @property
    def sql(self) -> str:
        """The statement of a query job."""
        return self.configuration.get("query", {}).get("query", "")

    @property
    def maximum_bytes_billed(self) -> int | None:
        """The cap of a query job."""
        cap = self.configuration.get("query", {}).get("maximumBytesBilled")
        return int(cap) if cap is not None else None


class Engine:
    """Datasets and tables, and what statements and loads do to them."""

    def __init__(self, storage_url: str | None) -> None:
        self.lock = threading.RLock()
        self.datasets: dict[tuple[str, str], str] = {}
        self.tables: dict[Name, Table] = {}
        self.load_limit = 1500
        self.loads: dict[Name, int] = {}
        self._cache: dict[tuple[Any, ...], Job] = {}
        self._storage = (
            storage.Client(
                project="test",
                credentials=AnonymousCredentials(),
                client_options={"api_endpoint": storage_url},
            )
            if storage_url
            else None
        )
        self.db = duckdb.connect(
            ":memory:",
            config={"autoinstall_known_extensions": False, "autoload_known_extensions": False},
        )

    # -- tables ---------------------------------------------------------------------------------

    def table(self, name: Name) -> Table | None:
        """The table, if it is there and has not expired."""
        found = self.tables.get(name)
        if found is not None and found.expires is not None and found.expires < datetime.now(UTC):
            self.drop(name)
            return None
        return found

    def create(self, table: Table) -> None:
        """Makes an empty table."""
        columns = ", ".join(
            f'"{item["name"]}" {_TO_DUCKDB[item["type"].upper()]}' for item in table.schema
        )
        self.db.execute(f"CREATE TABLE {table.physical} ({columns})")
        self.tables[table.name] = table

    def drop(self, name: Name) -> None:
        """Removes a table."""
        self.db.execute(f"DROP TABLE {self.tables.pop(name).physical}")

    def rows(self, table: Table) -> int:
        """How many rows it has."""
        found = self.db.execute(f"SELECT count(*) FROM {table.physical}").fetchone()
        return found[0] if found else 0

    def widen(self, table: Table, schema: list[dict[str, Any]]) -> None:
        """Gives it NULLABLE columns more; raises JobError for any other change."""
        before = [(item["name"], item["type"]) for item in table.schema]
        after = [(item["name"], item["type"]) for item in schema]
        new = schema[len(before) :]
        if after[: len(before)] != before or any(
            item.get("mode", "NULLABLE") != "NULLABLE" for item in new
        ):
            raise JobError("invalid", "Provided Schema does not match: only add NULLABLE columns")
        for item in new:
            kind = _TO_DUCKDB[item["type"].upper()]
            self.db.execute(f'ALTER TABLE {table.physical} ADD COLUMN "{item["name"]}" {kind}')
        table.schema = schema

    # -- loads ----------------------------------------------------------------------------------

    def load(self, job: Job) -> None:
        """All or nothing: Parquet objects into a table, columns by name."""
        config = job.configuration["load"]
        target = config["destinationTable"]
        name = (target["projectId"], target["datasetId"], target["tableId"])
        with self.lock:
            self.loads[name] = self.loads.get(name, 0) + 1
            if self.loads[name] > self.load_limit:
                raise JobError(
                    "quotaExceeded",
                    "Quota exceeded: Your table exceeded quota for imports or query appends per"
                    " table. For more information, see"
                    " https://cloud.google.com/bigquery/docs/troubleshoot-quotas",
                )
        if config["sourceFormat"] != "PARQUET":
            raise JobError("invalid", f"the double does not load {config['sourceFormat']}")
        with tempfile.TemporaryDirectory() as folder:
            files = [
                self._fetch(uri, Path(folder) / f"{number}.parquet")
                for number, uri in enumerate(self._objects(config["sourceUris"]))
            ]
            with self.lock:
                self._load_files(job, config, name, files)

    def _objects(self, uris: Sequence[str]) -> Iterable[str]:
        for uri in uris:
            bucket, _, path = uri.removeprefix("gs://").partition("/")
            if "*" not in path:
                yield uri
                continue
            before, _, after = path.partition("*")
            assert self._storage is not None
            found = [
                blob.name
                for blob in self._storage.list_blobs(bucket, prefix=before)
                if blob.name.endswith(after)
            ]
            if not found:
                raise JobError("notFound", f"Not found: URI {uri}")
            yield from (f"gs://{bucket}/{item}" for item in found)

    def _fetch(self, uri: str, path: Path) -> str:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        assert self._storage is not None
        blob = self._storage.bucket(bucket).get_blob(name)
        if blob is None:
            raise JobError("notFound", f"Not found: URI {uri}")
        blob.download_to_filename(str(path))
        return str(path)

    def _load_files(
        self, job: Job, config: Mapping[str, Any], name: Name, files: Sequence[str]
    ) -> None:
        table = self.table(name)
        if table is None:
            if config.get("createDisposition") == "CREATE_NEVER":
                raise JobError("notFound", f"Not found: Table {':'.join(name)}")
            raise JobError("invalid", "the double loads into existing tables only")
        selects = [(path, self._columns(table, path)) for path in files]
        existing = self.rows(table)
        disposition = config.get("writeDisposition", "WRITE_APPEND")
        if disposition == "WRITE_EMPTY" and existing:
            raise JobError("duplicate", f"Already Exists: Table {':'.join(name)}")
        self.db.execute("BEGIN")
        try:
            if disposition == "WRITE_TRUNCATE":
                self.db.execute(f"DELETE FROM {table.physical}")
                existing = 0
            for path, columns in selects:
                self.db.execute(
                    f"INSERT INTO {table.physical} BY NAME SELECT {columns}"
                    " FROM read_parquet($path)",
                    {"path": path},
                )
            self.db.execute("COMMIT")
        except duckdb.Error as error:
            self.db.execute("ROLLBACK")
            raise JobError("invalid", f"Error while reading data: {error}") from error
        table.touch()
        job.output_rows = self.rows(table) - existing

    def _columns(self, table: Table, path: str) -> str:
        """What to select from a Parquet file; raises JobError if it does not fit the table."""
        wanted = {item["name"]: item["type"].upper() for item in table.schema}
        try:
            described = self.db.execute(
                "DESCRIBE SELECT * FROM read_parquet($path)", {"path": path}
            ).fetchall()
        except duckdb.Error as error:
            raise JobError("invalid", f"Error while reading data: {error}") from error
        columns = []
        for name, kind, *_ in described:
            if name not in wanted:
                raise JobError("invalid", f"Provided Schema does not match: no {name}")
            type_ = _SHORT.get(wanted[name]) or wanted[name]
            if kind not in _IN_PARQUET[type_]:
                raise JobError(
                    "invalid",
                    f"Provided Schema does not match: field {name} has changed type from"
                    f" {type_} to {kind}",
                )
            time = kind.startswith("TIMESTAMP")
            columns.append(
                f'make_timestamp(epoch_us("{name}")) AS "{name}"' if time else f'"{name}"'
            )
        return ", ".join(columns)

    # -- statements -----------------------------------------------------------------------------

    def parse(self, job: Job) -> "Statement":
        """The statement of a query job; raises JobError if it is none or names no table."""
        config = job.configuration["query"]
        try:
            tree = sqlglot.parse_one(config["query"], read="bigquery")
        except ParseError as error:
            raise JobError("invalidQuery", f"Syntax error: {error}") from error
        values = {item["name"]: _value(item) for item in config.get("queryParameters", [])}
        return Statement(self, tree, values, config.get("defaultDataset"), job.project)

    def query(self, job: Job, statement: "Statement") -> None:
        """Runs a statement, within its cap, or answers it from the cache."""
        with self.lock:
            tables = statement.tables()
            key = (
                job.project,
                job.sql,
                repr(sorted(statement.values.items())),
                tuple(sorted((table.name, table.version) for table in tables)),
            )
            cached = self._cache.get(key)
            use = job.configuration["query"].get("useQueryCache", True)
            if cached is not None and use:
                job.cache_hit = True
                job.schema, job.rows = cached.schema, cached.rows
                return
            job.bytes_processed = statement.bytes()
            billed = (
                max(math.ceil(job.bytes_processed / MIB), 10 * len(tables)) * MIB
                if job.bytes_processed
                else 0
            )
            cap = job.maximum_bytes_billed
            if cap is not None and billed > cap:
                raise JobError(
                    "bytesBilledLimitExceeded",
                    f"Query exceeded limit for bytes billed: {cap}. {billed} or higher required.",
                )
            statement.run(job)
            job.bytes_billed = billed
            if not job.dml and isinstance(statement.tree, exp.Query):
                self._cache[key] = job


class Statement:
    """One GoogleSQL statement on its way to DuckDB."""

    def __init__(
        self,
        engine: Engine,
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
            every = star or (takes and target is table)
            if (
                isinstance(self.tree, exp.Insert)
                and table is target
                and not node.find_ancestor(exp.Select)
            ):
                continue
            columns = [c for c in table.schema if every or c["name"].lower() in names]
            total += self._size(table, columns, node.alias or node.name)
        return total

    def _size(self, table: Table, columns: Sequence[Mapping[str, Any]], alias: str) -> int:
        if not columns:
            return 0
        sizes = " + ".join(
            f'COALESCE(SUM({_width(column)} * ("{column["name"]}" IS NOT NULL)::INT), 0)'
            for column in columns
        )
        where = ""
        if table.partition is not None:
            where = self._partitions(table.partition, alias)
        row = self._engine.db.execute(f"SELECT {sizes} FROM {table.physical} {where}").fetchone()
        return int(row[0]) if row else 0

    def _partitions(self, column: str, alias: str) -> str:
        """The months that constant bounds on the partitioning column leave, as a condition."""
        bounds = []
        for node in self.tree.find_all(exp.GTE, exp.GT, exp.LT, exp.LTE):
            this, other = node.this, node.expression
            if (
                isinstance(this, exp.Column)
                and this.name.lower() == column
                and this.table in {"", alias}
                and isinstance(other, exp.Cast)
                and isinstance(other.this, exp.Literal)
            ):
                moment = f"CAST('{other.this.this}' AS TIMESTAMP)"
                if isinstance(node, exp.GTE | exp.GT):
                    bounds.append(
                        f"date_trunc('month', \"{column}\") >= date_trunc('month', {moment})"
                    )
                else:
                    bounds.append(f"date_trunc('month', \"{column}\") < {moment}")
        return f"WHERE {' AND '.join(bounds)}" if bounds else ""

    def run(self, job: Job) -> None:
        """Runs it, whole or not at all."""
        if isinstance(self.tree, exp.Delete) and not self.tree.args.get("where"):
            raise JobError("invalidQuery", "DELETE must have a WHERE clause")
        db = self._engine.db
        db.execute("BEGIN")
        try:
            if isinstance(self.tree, exp.Merge):
                self._merge(job)
            elif isinstance(self.tree, exp.Create | exp.Drop):
                self._define()
            else:
                result = db.execute(self._sql(self.tree))
                self._collect(job, result)
            db.execute("COMMIT")
        except duckdb.Error as error:
            db.execute("ROLLBACK")
            raise JobError("invalidQuery", str(error)) from error
        except JobError:
            db.execute("ROLLBACK")
            raise
        if self.target is not None:
            self.target.touch()

    def _define(self) -> None:
        node = self.tree.find(exp.Table)
        assert node is not None
        name = self._name(node)
        if isinstance(self.tree, exp.Drop):
            self._resolve(node)
            self._engine.drop(name)
            return
        if self._engine.table(name) is not None:
            raise JobError("duplicate", f"Already Exists: Table {'.'.join(name)}")
        self._engine.db.execute(self._sql(self.tree))
        table = Table(name, [], self._engine.datasets[name[:2]])
        table.schema = [
            {"name": row[0], "type": _FROM_DUCKDB[row[1]], "mode": "NULLABLE"}
            for row in self._engine.db.execute(f"DESCRIBE {table.physical}").fetchall()
        ]
        self._engine.tables[name] = table

    def _merge(self, job: Job) -> None:
        merge = self.tree
        target, source = self._sql(merge.this), self._sql(merge.args["using"])
        condition = self._sql(merge.args["on"])
        alias = merge.this.alias or merge.this.name
        twice = self._engine.db.execute(
            f"SELECT 1 FROM {target} JOIN {source} ON {condition}"
            f" GROUP BY {alias}.rowid HAVING count(*) > 1 LIMIT 1"
        ).fetchone()
        if twice:
            raise JobError(
                "invalidQuery",
                "UPDATE/MERGE must match at most one source row for each target row",
            )
        result = self._engine.db.execute(f"{self._sql(merge)} RETURNING merge_action")
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
            {"name": item[0], "type": _FROM_DUCKDB.get(str(item[1]), "STRING"), "mode": "NULLABLE"}
            for item in result.description or []
        ]

    def _sql(self, tree: Expression) -> str:
        def local(node: Expression) -> Expression:
            if isinstance(node, exp.Table) and node.name:
                name = ".".join(self._name(node))
                if tuple(self._name(node)) in self._engine.tables or isinstance(
                    self.tree, exp.Create
                ):
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


def _width(column: Mapping[str, Any]) -> str:
    kind = column["type"].upper()
    if kind == "STRING":
        return f'(2 + strlen("{column["name"]}"))'
    return "1" if kind in {"BOOL", "BOOLEAN"} else "8"


def _value(item: Mapping[str, Any]) -> Expression:
    """A query parameter as a literal."""
    kind, value = item["parameterType"], item["parameterValue"]
    if kind["type"] == "ARRAY":
        inner = kind["arrayType"]
        values = [
            _value({"parameterType": inner, "parameterValue": each})
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
                    expression=_value({"parameterType": fields[name], "parameterValue": inner}),
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


def micros(moment: datetime) -> int:
    """Microseconds since 1970, UTC."""
    utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (utc - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
