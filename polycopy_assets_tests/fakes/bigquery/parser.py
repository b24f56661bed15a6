"""Google's own parser and analyser of GoogleSQL, ZetaSQL, which BigQuery is built on.

Package `zetasql` has it as WebAssembly. All features are on that are released, and the product mode
is the external one, BigQuery's: that is not quite what BigQuery has on.
"""

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any
from unittest import mock

from zetasql.core import wasm_client
from zetasql.core.exceptions import ServerError
from zetasql.wasi._pb2.zetasql.local_service import local_service_pb2 as service
from zetasql.wasi._pb2.zetasql.proto import options_pb2, simple_catalog_pb2
from zetasql.wasi._pb2.zetasql.public import parse_resume_location_pb2, simple_table_pb2, type_pb2

from polycopy_assets_tests.fakes.machine_code import WASM, kept

_POSITION = re.compile(r"\[at (\d+:\d+)\]")
_KINDS = {
    "BOOLEAN": "BOOL",
    "FLOAT": "DOUBLE",
    "FLOAT64": "DOUBLE",
    "INTEGER": "INT64",
}
_PASSING = re.compile(r"\b(?:d[0-9a-f]{12}|polycopy_staging_[0-9a-f_]+)\b")
"""Datasets of tests, and staging tables: names, whatever their digits."""

_one_at_a_time = threading.Lock()


class Refused(Exception):
    """What BigQuery answers with a 400: its message."""


def complaint(sql: str) -> str:
    """What the parser has against a statement or script, in BigQuery's words; empty if nothing."""
    return "" if not _complaint(_PASSING.sub("some_name", sql)) else _complaint(sql)


@cache
def _complaint(sql: str) -> str:
    request = service.ParseRequest(sql_statement=sql, options=_language(), allow_script=True)
    try:
        _call("Parse", request, service.ParseResponse)
    except Refused as refused:
        return str(refused)
    return ""


def analyse(
    sql: str,
    parameters: Iterable[Mapping[str, Any]],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Raises Refused unless each statement of `sql` fits its parameters and tables.

    `parameters` are a query job's `queryParameters`, `tables` the fields of each table, by its name
    `project.dataset.table`.
    """
    if said := complaint(sql):
        raise Refused(said)
    options = options_pb2.AnalyzerOptionsProto(
        language_options=_language(),
        error_message_mode="ERROR_MESSAGE_ONE_LINE",
        query_parameters=[
            {"name": each["name"], "type": _of_parameter(each["parameterType"])}
            for each in parameters
        ],
    )
    catalog = simple_catalog_pb2.SimpleCatalogProto(
        name="all",
        builtin_function_options={"language_options": _language()},
        table=[_table(*item) for item in tables.items()],
    )
    position, size = 0, len(sql.encode())
    while position < size and sql.encode()[position:].strip():
        request = service.AnalyzeRequest(
            options=options,
            simple_catalog=catalog,
            parse_resume_location=parse_resume_location_pb2.ParseResumeLocationProto(
                input=sql, byte_position=position
            ),
        )
        position = _call("Analyze", request, service.AnalyzeResponse).resume_byte_position


def _table(name: str, fields: Sequence[Mapping[str, Any]]) -> simple_table_pb2.SimpleTableProto:
    return simple_table_pb2.SimpleTableProto(
        name=name,
        column=[
            {"name": field["name"], "type": _of_field(field), "is_writable_column": True}
            for field in fields
        ],
    )


def _of_field(field: Mapping[str, Any]) -> type_pb2.TypeProto:
    if inner := field.get("fields"):
        one = _struct((each["name"], _of_field(each)) for each in inner)
    else:
        one = _simple(field["type"])
    return _array(one) if field.get("mode") == "REPEATED" else one


def _of_parameter(kind: Mapping[str, Any]) -> type_pb2.TypeProto:
    if kind["type"] == "ARRAY":
        return _array(_of_parameter(kind["arrayType"]))
    if kind["type"] == "STRUCT":
        return _struct((each["name"], _of_parameter(each["type"])) for each in kind["structTypes"])
    return _simple(kind["type"])


def _simple(kind: str) -> type_pb2.TypeProto:
    name = kind.upper()
    return type_pb2.TypeProto(type_kind=f"TYPE_{_KINDS.get(name, name)}")


def _array(element: type_pb2.TypeProto) -> type_pb2.TypeProto:
    return type_pb2.TypeProto(type_kind="TYPE_ARRAY", array_type={"element_type": element})


def _struct(fields: Iterator[tuple[str, type_pb2.TypeProto]]) -> type_pb2.TypeProto:
    of = [{"field_name": name, "field_type": kind} for name, kind in fields]
    return type_pb2.TypeProto(type_kind="TYPE_STRUCT", struct_type={"field": of})


def _call(method: str, request: Any, answer: Any) -> Any:
    with _one_at_a_time:
        try:
            return _client().call_grpc_func(f"ZetaSqlLocalService_{method}", request, answer)
        except ServerError as error:
            raise Refused(_POSITION.sub(r"at [\1]", error.message)) from error


@cache
def _client() -> wasm_client.WasmClient:
    compiler = mock.Mock(from_file=lambda engine, _: kept(engine))
    with mock.patch.object(wasm_client, "Module", compiler):  # it would compile in each process
        return wasm_client.WasmClient(str(WASM))


@cache
def _language() -> options_pb2.LanguageOptionsProto:
    request = service.LanguageOptionsRequest(maximum_features=True)
    found = _call("GetLanguageOptions", request, options_pb2.LanguageOptionsProto)
    found.product_mode = "PRODUCT_EXTERNAL"
    found.reserved_keywords[:] = ["QUALIFY"]
    found.supported_statement_kinds[:] = []
    return found
