"""Whether a BigQuery table that we did not create can hold our rows unchanged."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl
from google.cloud import bigquery

from polycopy_assets.trades.frame import ALWAYS_KNOWN

_TYPES: Mapping[type[pl.DataType], str] = {
    pl.String: "STRING",
    pl.Float64: "FLOAT64",
    pl.Int64: "INT64",
    pl.Datetime: "TIMESTAMP",
    pl.Boolean: "BOOL",
    pl.Decimal: "NUMERIC",
}
_DAY = 86_400_000  # in ms
_LEGACY = {"FLOAT": "FLOAT64", "INTEGER": "INT64", "BOOLEAN": "BOOL"}


def kinds(kind: pl.DataType) -> str:
    """The name of a column's type in BigQuery."""
    return _TYPES[type(kind)]


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


def wrong_with(table: bigquery.Table, wanted: Sequence[bigquery.SchemaField], where: str) -> str:
    """What is wrong with a table that should have the columns `wanted`, in one line, or nothing.

    Missing and additional columns are fine.
    """
    return next(_wrong(table, wanted, where), "")


def _wrong(
    table: bigquery.Table, wanted: Sequence[bigquery.SchemaField], where: str
) -> Iterator[str]:
    if table.table_type not in {None, "TABLE"}:
        yield f"{table.table_id} in {where} is a {table.table_type} and should be a TABLE"
    if table.require_partition_filter:
        yield (
            f"table {table.table_id} in {where} requires a partition filter, and should not: all of"
            " its rows are counted and compared"
        )
    if table.expires is not None:
        at = f"{table.expires:%F %R} UTC"
        yield f"table {table.table_id} in {where} expires at {at}, and should not"
    partitioning = table.time_partitioning
    if partitioning is not None and partitioning.expiration_ms:
        yield (
            f"partitions of table {table.table_id} in {where} expire after"
            f" {int(partitioning.expiration_ms) / _DAY:g} days, and should not: trades would vanish"
        )
    kinds = {field.name: field for field in wanted}
    for field in table.schema:
        for wrong in _of_field(field, kinds.get(field.name.lower())):
            yield f"column {field.name} of table {table.table_id} in {where} {wrong}"


def lasting(dataset: bigquery.Dataset, where: str, *, partitioned: bool) -> str:
    """Why a table that is created in a dataset would not last, in one line, or nothing."""
    kinds = {"tables": dataset.default_table_expiration_ms}
    if partitioned and dataset.default_partition_expiration_ms:
        kinds = {"partitions": dataset.default_partition_expiration_ms}  # the only one that counts
    return next(
        (
            f"new {kind} in {where} expire after {int(last) / _DAY:g} days by the default of the"
            " dataset, and should not: trades would vanish"
            for kind, last in kinds.items()
            if last
        ),
        "",
    )


def _of_field(field: bigquery.SchemaField, wanted: bigquery.SchemaField | None) -> Iterator[str]:
    if wanted is None:
        default = field.to_api_repr().get("defaultValueExpression")
        if field.mode == "REQUIRED" and default is None:
            yield "is not one of ours and is REQUIRED: it should be NULLABLE"
        return
    if _kind(field) != _kind(wanted):
        yield f"is {_kind(field)} and should be {_kind(wanted)}"
    if field.mode == "REPEATED":
        yield f"is REPEATED and should be one {_kind(wanted)}"
    if field.mode == "REQUIRED" and field.name.lower() not in ALWAYS_KNOWN:
        yield "is REQUIRED and should be NULLABLE: not every trade has a value"
    if field.max_length is not None:
        yield f"is {_kind(field)}({field.max_length}) and should be {_kind(wanted)}"
    if field.to_api_repr().get("collation"):
        yield "has a collation and should have none: two addresses would count as one"


def _kind(field: bigquery.SchemaField) -> str:
    return _LEGACY.get(field.field_type, field.field_type)
