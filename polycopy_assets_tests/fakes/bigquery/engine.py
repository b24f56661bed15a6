"""The data of the double: datasets and tables in DuckDB, and load jobs."""

import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from sqlglot import exp
from sqlglot.errors import ParseError

from polycopy_assets_tests.fakes.bigquery import parser
from polycopy_assets_tests.fakes.bigquery.model import Job, JobError, Name, Table, mode
from polycopy_assets_tests.fakes.bigquery.statement import Statement, literal

_TO_DUCKDB = {
    "STRING": "VARCHAR",
    "TIMESTAMP": "TIMESTAMP",
    "FLOAT64": "DOUBLE",
    "FLOAT": "DOUBLE",
    "INT64": "BIGINT",
    "INTEGER": "BIGINT",
    "BOOL": "BOOLEAN",
    "BOOLEAN": "BOOLEAN",
    "NUMERIC": "DECIMAL(38, 9)",
    "DATETIME": "TIMESTAMP",
    "DATE": "DATE",
}
# https://cloud.google.com/bigquery/quotas#load_jobs: source URIs in a load job's configuration.
_MOST_URIS = 10_000
_SHORT = {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL"}
_IN_MODE = {"NULLABLE": "", "REQUIRED": " NOT NULL", "REPEATED": "[]"}
_IN_PARQUET = {
    "STRING": {"VARCHAR"},
    "TIMESTAMP": {"TIMESTAMP WITH TIME ZONE"},
    "FLOAT64": {"DOUBLE", "FLOAT"},
    "INT64": {"BIGINT", "INTEGER"},
    "BOOL": {"BOOLEAN"},
    "NUMERIC": {"DECIMAL(38,9)"},
}


class Engine:
    """Datasets and tables, and what statements and loads do to them."""

    def __init__(self, storage_url: str | None) -> None:
        self.lock = threading.RLock()
        self.changing: dict[Name, str] = {}
        """The tables that open transactions have changed rows of, each with its job."""
        self.released = threading.Condition(self.lock)
        self.datasets: dict[tuple[str, str], str] = {}
        self.defaults: dict[tuple[str, str], Mapping[str, Any]] = {}
        """What a dataset gives to its new tables, by the interface's names."""
        self.tables: dict[Name, Table] = {}
        self.buckets: dict[str, str] = {}
        """Where buckets are, if they are not where the dataset is."""
        self.no_grant: set[str] = set()
        """Keys that BigQuery's own account may not use."""
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
        if found is not None and found.partition and found.partitions_last is not None:
            until = datetime.now(UTC).replace(tzinfo=None) - found.partitions_last
            self.db.execute(f'DELETE FROM {found.physical} WHERE "{found.partition}" < ?', [until])
        return found

    def create(self, table: Table) -> None:
        """Makes an empty table."""
        self._usable_default(table)
        columns = ", ".join(
            f'"{item["name"]}" {_TO_DUCKDB[item["type"].upper()]}{_IN_MODE[mode(item)]}'
            for item in table.schema
        )
        self.db.execute(f"CREATE TABLE {table.physical} ({columns})")
        self.add(table)

    def add(self, table: Table) -> None:
        """Adds a table that is there in DuckDB, with the defaults of its dataset."""
        defaults = self.defaults.get(table.name[:2], {})
        partitions, whole = (
            timedelta(milliseconds=int(defaults[name])) if defaults.get(name) else None
            for name in ("defaultPartitionExpirationMs", "defaultTableExpirationMs")
        )
        # Of a partitioned table, the default for partitions counts in place of the one for tables.
        if table.partition and partitions is not None:
            table.partitions_last = table.partitions_last or partitions
        elif whole is not None:
            table.expires = table.expires or datetime.now(UTC) + whole
        if collation := defaults.get("defaultCollation"):
            # bigquery/docs/reference/standard-sql/collation-concepts: new tables inherit it, and
            # their STRING columns. The comparisons of the double do not know it.
            table.schema = [
                {**item, "collation": collation} if item["type"] == "STRING" else item
                for item in table.schema
            ]
        table.key = self._usable_default(table)
        self.tables[table.name] = table

    def _usable_default(self, table: Table) -> str | None:
        """The key of a new table: its own, or that of its dataset."""
        default = self.defaults.get(table.name[:2], {}).get("defaultEncryptionConfiguration")
        return self.usable_key({"kmsKeyName": table.key} if table.key else default)

    def usable_key(self, configuration: Mapping[str, str] | None) -> str | None:
        """The key that a configuration names; raises JobError if BigQuery may not use it.

        https://cloud.google.com/bigquery/docs/customer-managed-encryption: a new table has the
        default key of its dataset unless its creation names another; a truncating load into a
        table may name a key. Whether it keeps the table's own, if it names none, is not documented:
        in the double it does not. Nor is a key for the results of statements that have none: the
        double refuses it.
        """
        key = None if configuration is None else configuration["kmsKeyName"]
        if key is not None and "/cryptoKeyVersions/" in key:
            raise JobError("invalid", f"a version cannot be chosen: {key}")
        if key in self.no_grant:
            raise JobError(
                "accessDenied",
                "Access Denied: BigQuery BigQuery: Permission denied on Cloud KMS key. Please make"
                f" sure that your BigQuery service account has been granted access to {key}",
            )
        return key

    def drop(self, name: Name) -> None:
        """Removes a table or view."""
        gone = self.tables.pop(name)
        self.db.execute(f"DROP {gone.kind} {gone.physical}")

    def define_view(self, table: Table, query: str) -> None:
        """Makes a view of `table`, or makes it another one; its columns follow from the query."""
        job = Job("view", "query", table.name[0], table.location, {"query": {"query": query}})
        (statement,) = self.parse(job)
        statement.tables()
        select = statement.local(statement.tree)
        self.db.execute(f"CREATE OR REPLACE VIEW {table.physical} AS {select}")
        table.kind, table.view, table.schema = "VIEW", query, statement.columns_of(table)
        self.tables[table.name] = table

    def rows(self, table: Table) -> int:
        """How many rows it has; none are counted of a view."""
        if table.kind == "VIEW":
            return 0
        found = self.db.execute(f"SELECT count(*) FROM {table.physical}").fetchone()
        return found[0] if found else 0

    def refuse_hidden(self, tables: Iterable[Table]) -> None:
        """Raises JobError if the caller may not see all rows of a table.

        https://cloud.google.com/bigquery/docs/using-row-level-security-with-features:
        DML, and reads without a query such as `bq head`, need a policy with the filter TRUE;
        queries see less.
        """
        for table in tables:
            if table.shown is not None:
                raise JobError(
                    "accessDenied",
                    f"Access Denied: Table {':'.join(table.name)}: User does not have permission to"
                    " access all rows of the table, which has row access policies",
                )

    def all_rows(self, table: Table) -> list[tuple[Any, ...]]:
        """All of its rows."""
        self.refuse_hidden([table])
        return self.db.execute(f"SELECT * FROM {table.physical}").fetchall()

    def widen(self, table: Table, schema: list[dict[str, Any]]) -> None:
        """Gives it NULLABLE columns more; raises JobError for any other change."""
        before = [(item["name"], item["type"]) for item in table.schema]
        after = [(item["name"], item["type"]) for item in schema]
        new = schema[len(before) :]
        if after[: len(before)] != before or any(mode(item) != "NULLABLE" for item in new):
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
        if len(config["sourceUris"]) > _MOST_URIS:
            raise JobError("invalid", f"Too many sourceUris; the maximum is {_MOST_URIS}")
        self._refuse_apart(config["sourceUris"], self.datasets[name[:2]])
        if config["sourceFormat"] != "PARQUET":
            raise JobError("invalid", f"the double does not load {config['sourceFormat']}")
        with tempfile.TemporaryDirectory() as folder:
            files = [
                self._fetch(uri, Path(folder) / f"{number}.parquet")
                for number, uri in enumerate(self._objects(config["sourceUris"]))
            ]
            with self.lock:
                self._load_files(job, config, name, files)

    def _refuse_apart(self, uris: Sequence[str], dataset: str) -> None:
        """https://cloud.google.com/bigquery/docs/batch-loading-data#data-locations."""
        for uri in uris:
            bucket = self.buckets.get(uri.removeprefix("gs://").partition("/")[0], dataset)
            if dataset not in {"US", bucket}:
                raise JobError(
                    "invalid",
                    "Cannot read and write in different locations: source:"
                    f" {bucket}, destination: {dataset}",
                )

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
                table.key = self.usable_key(config.get("destinationEncryptionConfiguration"))
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

    def parse(self, job: Job) -> list[Statement]:
        """The statements of a query job; raises JobError if they are none or name no table."""
        config = job.configuration["query"]
        if refused := parser.complaint(config["query"]):
            raise JobError("invalidQuery", refused)
        try:
            found = sqlglot.parse(config["query"], read="bigquery")
            trees = [tree for tree in found if tree and not isinstance(tree, exp.Semicolon)]
        except ParseError as error:
            raise JobError("invalidQuery", f"Syntax error: {error}") from error
        values = {item["name"]: literal(item) for item in config.get("queryParameters", [])}
        default = config.get("defaultDataset")
        return [Statement(self, tree, values, default, job.project) for tree in trees]

    def await_transactions(self, statement: Statement) -> None:
        """Waits until no open transaction has changed rows of the table that it changes."""
        if statement.mutates and (target := statement.target):
            self.released.wait_for(lambda: target.name not in self.changing, 60)

    def query(self, job: Job, statement: Statement) -> None:
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
            self.await_transactions(statement)
            billed = statement.billed(job, job.maximum_bytes_billed)
            statement.run(job)
            job.bytes_billed = billed
            if not job.dml and isinstance(statement.tree, exp.Query):
                self._cache[key] = job
