"""Rows as served: kept byte by byte, looked at once to see that they are what they should be."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.text import said_by
from polycopy_assets.trades.odd_json import UNREADABLE, tame
from polycopy_assets.trades.page import Row
from polycopy_assets.trades.shapes import Shape, field_names

T = TypeVar("T", bound=msgspec.Struct)

NAMED_FIELDS = 20
"""Unknown fields that a page names; a source that makes up names must not fill the record."""

OTHER_FIELDS = "(others)"


class Read(NamedTuple):
    """The rows of a page, and how many of them have each unknown field and each oddity."""

    rows: list[Row]
    unknown_fields: Mapping[str, int]
    oddities: Mapping[str, int]


def read_rows(shape: Shape, raws: Iterable[msgspec.Raw]) -> Read:
    """The rows of a page; raises ContractBroken naming the row and the field that is wrong."""
    unknown: Counter[str] = Counter()
    oddities: Counter[str] = Counter()
    rows: list[Row] = []
    for number, raw in enumerate(raws):
        try:
            row = shape.row(raw)
            extra = field_names(raw) - shape.listed
        except ContractBroken as error:
            raise ContractBroken(f"row {number} of a page: {error}") from error
        if extra:
            _count(unknown, extra)
        oddities.update(shape.oddities(row))
        rows.append(Row(row.wallet.lower(), row.timestamp, row.tx_hash, one_line(bytes(raw))))
    return Read(rows, unknown, oddities)


def _count(unknown: Counter[str], names: Iterable[str]) -> None:
    for name in sorted(names):
        known = name in unknown or len(unknown) < NAMED_FIELDS
        unknown[name if known else OTHER_FIELDS] += 1


def one_line(raw: bytes) -> bytes:
    """The same JSON as one line: between values a line break says as much as a space."""
    return raw.replace(b"\n", b" ").replace(b"\r", b" ")


def decode_page(body: bytes, shape: type[T]) -> T:
    """The page that `body` holds; raises ContractBroken naming what is not as promised.

    Rows in it that are `msgspec.Raw` are as served, whatever is in them.
    """
    try:
        return msgspec.json.decode(body, type=shape)
    except (*UNREADABLE, RecursionError):
        tamed = tame(body)
    try:
        page = msgspec.json.decode(tamed, type=shape)
    except UNREADABLE as error:
        raise ContractBroken(
            f"a page that is not in the documented shape: {said_by(error)}"
        ) from error
    for name in page.__struct_fields__:
        value = getattr(page, name)
        if isinstance(value, list) and value and isinstance(value[0], msgspec.Raw):
            setattr(page, name, _as_served(value, body, tamed))
    return page


def _as_served(rows: list[Any], body: bytes, tamed: bytes) -> list[msgspec.Raw]:
    """The bytes of `body` where `rows` lie in `tamed`, one after the other."""
    served: list[msgspec.Raw] = []
    end = 0
    for row in rows:
        start = tamed.index(bytes(row), end)
        end = start + len(bytes(row))
        served.append(msgspec.Raw(body[start:end]))
    return served
