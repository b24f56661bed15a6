"""Tables of the double, made and changed by requests of their own, without a job."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from polycopy_assets_tests.fakes.bigquery.engine import Engine
from polycopy_assets_tests.fakes.bigquery.model import LABEL, JobError, Table
from polycopy_assets_tests.fakes.bigquery.pages import page
from polycopy_assets_tests.fakes.bigquery.shown import table_resource

# https://cloud.google.com/bigquery/quotas#standard_tables, and #partitioned_tables: changes of a
# table's metadata in 10 seconds.
UPDATES, PARTITIONED_UPDATES, UPDATES_WITHIN = 5, 50, 10.0
Body = dict[str, Any]


def create_table(engine: Engine, project: str, dataset: str, body: Body) -> Body:
    """Makes a table, if there is none of that name."""
    name = (project, dataset, body["tableReference"]["tableId"])
    location = engine.datasets.get((project, dataset))
    if location is None:
        raise JobError("notFound", f"Not found: Dataset {project}:{dataset}")
    if engine.table(name) is not None:
        raise JobError("duplicate", f"Already Exists: Table {project}:{dataset}.{name[2]}")
    expires = body.get("expirationTime")
    parts = body.get("timePartitioning") or {}
    last = parts.get("expirationMs")
    table = Table(
        name,
        body.get("schema", {}).get("fields", []),
        location,
        partition=parts.get("field"),
        unit=parts.get("type", "MONTH"),
        partitions_last=timedelta(milliseconds=int(last)) if last else None,
        filtered=bool(body.get("requirePartitionFilter")),
        clustering=(body.get("clustering") or {}).get("fields", []),
        labels=body.get("labels") or {},
        expires=datetime.fromtimestamp(int(expires) / 1000, UTC) if expires else None,
        key=(body.get("encryptionConfiguration") or {}).get("kmsKeyName"),
        description=body.get("description") or "",
    )
    if view := body.get("view"):
        engine.define_view(table, view["query"])
    else:
        engine.create(table)
    return table_resource(engine, table)


def find_table(engine: Engine, project: str, dataset: str, name: str) -> Table:
    """The table; raises JobError if there is none."""
    table = engine.table((project, dataset, name))
    if table is None:
        raise JobError("notFound", f"Not found: Table {project}:{dataset}.{name}")
    return table


def patch_table(engine: Engine, table: Table, body: Body, etag: str | None) -> Body:
    """Changes a table's columns or labels, if it is still as its writer saw it."""
    if etag is not None and etag != table.version:
        raise JobError("conditionNotMet", "Precondition Failed: the etag is stale")
    now = time.monotonic()
    table.updates = [each for each in table.updates if now - each < UPDATES_WITHIN]
    if len(table.updates) >= (PARTITIONED_UPDATES if table.partition else UPDATES):
        raise JobError(
            "rateLimitExceeded",
            "Exceeded rate limits: too many table update operations for this table",
        )
    table.updates.append(now)
    table.description = body.get("description", table.description) or ""
    if view := body.get("view"):
        engine.define_view(table, view["query"])
    if "schema" in body:
        engine.widen(table, body["schema"]["fields"])
    for key, value in (body.get("labels") or {}).items():
        if value is None:
            table.labels.pop(key, None)
        elif not LABEL.fullmatch(key) or not LABEL.fullmatch(value):
            raise JobError("invalid", f"Label {key}={value!r} is not allowed")
        else:
            table.labels[key] = value
    table.touch()
    return table_resource(engine, table)


def listed(engine: Engine, table: Table, parameters: Mapping[str, str]) -> Body:
    """A page of a table's rows, without a job (`tabledata.list`)."""
    rows = engine.all_rows(table)
    if wanted := parameters.get("selectedFields"):
        names = set(wanted.split(","))
        at = [n for n, column in enumerate(table.schema) if column["name"] in names]
        rows = [tuple(row[n] for n in at) for row in rows]
    return page(rows, parameters, 100_000)
