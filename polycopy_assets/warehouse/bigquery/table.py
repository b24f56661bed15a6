"""Whether a BigQuery table that we did not create can hold our rows unchanged."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import polars as pl
from google.cloud import bigquery

from polycopy_assets.feeds.base import Feed

_TYPES: Mapping[type[pl.DataType], str] = {
    pl.String: "STRING",
    pl.Float64: "FLOAT64",
    pl.Int64: "INT64",
    pl.Datetime: "TIMESTAMP",
    pl.Boolean: "BOOL",
    pl.Decimal: "NUMERIC",
}
_NUMERIC = 29, 9
"""Digits before and after the point that a NUMERIC holds.

https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types
"""

_DAY = 86_400_000  # in ms
_COMPARED = frozenset({"wallet_address", "id", "timestamp", "source"})
"""Columns by which rows are found, counted and replaced."""

_LEGACY = {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL"}


def kinds(kind: pl.DataType) -> str:
    """The name of a column's type in BigQuery; raises ValueError for a decimal that none holds."""
    if isinstance(kind, pl.Decimal):
        before, after = (kind.precision or 38) - kind.scale, kind.scale
        if before > _NUMERIC[0] or after > _NUMERIC[1]:
            raise ValueError(f"{kind} does not fit into a NUMERIC: {before} and {after} digits")
    return _TYPES[type(kind)]


class Wanted(NamedTuple):
    """The columns that a table of ours should have.

    `known` are those that are never null in our rows, `row` and `rows` what these are called.
    """

    fields: Sequence[bigquery.SchemaField]
    known: frozenset[str] = frozenset({"wallet_address"})
    row: str = "row"
    rows: str = "rows"


def wanted_of(feed: Feed) -> Wanted:
    """The columns of the feed's table."""
    frame = feed.frame()
    columns = fields(frame.table, feed.relation.columns)
    return Wanted(columns, frame.always_known, feed.row, feed.rows)


def fields(
    columns: Mapping[str, pl.DataType], meanings: Mapping[str, str] | None = None
) -> list[bigquery.SchemaField]:
    """Columns as BigQuery's fields, described by `meanings`."""
    plain = [bigquery.SchemaField(name, kinds(kind)) for name, kind in columns.items()]
    return described(plain, meanings or {})


def described(
    schema: Sequence[bigquery.SchemaField], meanings: Mapping[str, str]
) -> list[bigquery.SchemaField]:
    """A schema in which columns without a description have that of `meanings`, if it has one."""
    return [
        field
        if field.description or field.name.lower() not in meanings
        else bigquery.SchemaField.from_api_repr(
            {**field.to_api_repr(), "description": meanings[field.name.lower()]}
        )
        for field in schema
    ]


def key_of(found: bigquery.EncryptionConfiguration | None) -> str | None:
    """The key of Cloud KMS that is named, None for Google's own.

    Without its version, which the service adds and does not take.
    """
    return str(found.kms_key_name).partition("/cryptoKeyVersions/")[0] if found else None


def wrong_with(table: bigquery.Table, wanted: Wanted, where: str) -> str:
    """What is wrong with a table that should be as `wanted`, in one line, or nothing.

    Missing and additional columns are fine.
    """
    return next(_wrong(table, wanted, where), "")


def _wrong(table: bigquery.Table, wanted: Wanted, where: str) -> Iterator[str]:
    if table.table_type not in {None, "TABLE"}:
        kind = str(table.table_type)
        one = "an" if kind.startswith("E") else "a"  # EXTERNAL
        yield f"{table.table_id} in {where} is {one} {kind} and should be a TABLE"
    if table.require_partition_filter:
        yield (
            f"table {table.table_id} in {where} requires a partition filter, and should not: all of"
            " its rows are counted and compared"
        )
    if table.expires is not None:
        at = f"{table.expires:%F %R} UTC"
        yield f"table {table.table_id} in {where} expires at {at}, and should not"
    partitioning = table.time_partitioning
    if table.to_api_repr().get("defaultCollation"):
        yield (
            f"table {table.table_id} in {where} has a default collation, and should have none: new"
            " columns get it, and two addresses would count as one"
        )
    if partitioning is not None and partitioning.expiration_ms:
        yield (
            f"partitions of table {table.table_id} in {where} expire after"
            f" {int(partitioning.expiration_ms) / _DAY:g} days, and should not:"
            f" {wanted.rows} would vanish"
        )
    named = {field.name: field for field in wanted.fields}
    for field in table.schema:
        for wrong in _of_field(field, named.get(field.name.lower()), wanted):
            yield f"column {field.name} of table {table.table_id} in {where} {wrong}"


def collated(dataset: bigquery.Dataset, where: str) -> str:
    """Why texts in new tables of a dataset would not be compared as they are, or nothing."""
    collation = dataset.to_api_repr().get("defaultCollation")
    if not collation:
        return ""
    return (
        f"{where} has the default collation {collation}, and should have none: new tables get it,"
        " and two addresses would count as one (ALTER SCHEMA … SET DEFAULT COLLATE '')"
    )


def lasting(dataset: bigquery.Dataset, where: str, *, partitioned: bool) -> str:
    """Why a table that is created in a dataset would not last, in one line, or nothing."""
    kinds = {"tables": dataset.default_table_expiration_ms}
    if partitioned and dataset.default_partition_expiration_ms:
        kinds = {"partitions": dataset.default_partition_expiration_ms}  # the only one that counts
    return next(
        (
            f"new {kind} in {where} expire after {int(last) / _DAY:g} days by the default of the"
            " dataset, and should not: rows would vanish"
            for kind, last in kinds.items()
            if last
        ),
        "",
    )


def _of_field(
    field: bigquery.SchemaField, ours: bigquery.SchemaField | None, wanted: Wanted
) -> Iterator[str]:
    if ours is None:
        default = field.to_api_repr().get("defaultValueExpression")
        if field.mode == "REQUIRED" and default is None:
            yield "is not one of ours and is REQUIRED: it should be NULLABLE"
        return
    if _kind(field) != _kind(ours):
        yield f"is {_kind(field)} and should be {_kind(ours)}"
    if field.mode == "REPEATED":
        yield f"is REPEATED and should be one {_kind(ours)}"
    if field.mode == "REQUIRED" and field.name.lower() not in wanted.known:
        yield f"is REQUIRED and should be NULLABLE: not every {wanted.row} has a value"
    if field.max_length is not None:
        yield f"is {_kind(field)}({field.max_length}) and should be {_kind(ours)}"
    if field.precision is not None:
        yield (
            f"is {_kind(field)}({field.precision}, {field.scale or 0}) and should be {_kind(ours)}"
        )
    if field.to_api_repr().get("collation"):
        yield "has a collation and should have none: two addresses would count as one"
    if field.policy_tags and field.policy_tags.names and field.name.lower() in _COMPARED:
        yield (
            "has a policy tag and should have none: rows are found by it, and whoever may not read"
            " it is shown masked values"
        )


def _kind(field: bigquery.SchemaField) -> str:
    return _LEGACY.get(field.field_type, field.field_type)
