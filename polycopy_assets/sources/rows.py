"""Rows as served: kept byte for byte, and validated once."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.text import said_by
from polycopy_assets.trades.odd_json import UNREADABLE, Json, tame
from polycopy_assets.trades.page import Rows, as_lines
from polycopy_assets.trades.shapes import ServedRow, Shape, field_names

T = TypeVar("T", bound=msgspec.Struct)

NAMED_FIELDS = 20
"""The most unknown fields named for a page: a source that makes up names must not fill the
record."""

OTHER_FIELDS = "(others)"


class Read(NamedTuple):
    """The rows of a page, and how many of them have each unknown field and each oddity."""

    rows: Rows
    unknown_fields: Mapping[str, int]
    oddities: Mapping[str, int]


def read_rows(shape: Shape, raws: Sequence[msgspec.Raw | Json]) -> Read:
    """The rows of a page; raises ContractBroken naming the row and the field that is wrong.

    An ordinary page is read in one go. That says nothing of what is wrong, and counts no unknown
    fields, so any other page is read row by row.
    """
    served = [raw.served if isinstance(raw, Json) else bytes(raw) for raw in raws]
    lines = as_lines(served)
    if b"\r" in lines or lines.count(b"\n") > len(served):
        served = [without_line_breaks(raw) for raw in served]
        lines = as_lines(served)
    unknown: Counter[str] = Counter()
    rows = shape.listed_rows(lines)
    if rows is None or len(rows) != len(served):
        rows = list(_one_by_one(shape, raws, unknown))
    wallets = list(map(attrgetter("wallet"), rows))
    lower = {wallet: wallet.lower() for wallet in set(wallets)}
    columns = Rows(
        list(map(lower.__getitem__, wallets)),
        list(map(attrgetter("timestamp"), rows)),
        list(map(attrgetter("tx_hash"), rows)),
        served,
        lines,
    )
    return Read(columns, unknown, shape.oddities(rows))


def _one_by_one(
    shape: Shape, raws: Iterable[msgspec.Raw | Json], unknown: Counter[str]
) -> Iterator[ServedRow]:
    """Each row; counts its unknown fields."""
    for number, raw in enumerate(raws):
        tamed = raw.tamed if isinstance(raw, Json) else raw
        try:
            row = shape.row(tamed)
            extra = field_names(tamed) - shape.listed
        except ContractBroken as error:
            raise ContractBroken(f"row {number} of a page: {error}") from error
        if extra:
            _count(unknown, extra)
        yield row


def _count(unknown: Counter[str], names: Iterable[str]) -> None:
    for name in sorted(names):
        known = name in unknown or len(unknown) < NAMED_FIELDS
        unknown[name if known else OTHER_FIELDS] += 1


def without_line_breaks(raw: bytes) -> bytes:
    """The same JSON as one line: between values a line break means the same as a space."""
    return raw.replace(b"\n", b" ").replace(b"\r", b" ")


def decode_page(page: Json, shape: type[T]) -> T:
    """What `page` holds; raises ContractBroken naming what breaks the contract.

    Rows in it that are `msgspec.Raw` are as served, whatever they contain; if the page had to be
    tamed they are `Json`.
    """
    try:
        found, tamed = _decoded(page, shape)
    except UNREADABLE as error:
        raise ContractBroken(
            f"a page that is not in the documented shape: {said_by(error)}"
        ) from error
    for name in found.__struct_fields__ if tamed is not page.served else ():
        value = getattr(found, name)
        if isinstance(value, list) and value and isinstance(value[0], msgspec.Raw):
            setattr(found, name, list(_as_served(value, page.served, tamed)))
    return found


def _decoded(page: Json, shape: type[T]) -> tuple[T, bytes]:
    """The page, and the text from which it was decoded."""
    try:
        return msgspec.json.decode(page.tamed, type=shape), page.tamed
    except RecursionError:  # less stack is left here than where the page was first read
        tamed = tame(page.served)
        return msgspec.json.decode(tamed, type=shape), tamed


def _as_served(rows: list[msgspec.Raw], served: bytes, tamed: bytes) -> Iterator[Json]:
    """The bytes of `served` where `rows` lie in `tamed`, one after the other."""
    end = 0
    for row in rows:
        text = bytes(row)
        start = tamed.index(text, end)
        end = start + len(text)
        yield Json(served[start:end], text)
