"""The answer to a query, printed: as a table for people, as CSV, as JSON."""

import base64
import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, TextIO
from uuid import UUID

from polycopy_assets.text import one_line
from polycopy_assets.warehouse.reading import Answer

_MEASURED = 1_000
"""The first rows, which decide how wide the columns of a table are."""

_WIDEST = 80
_GAP = "  "


def print_table(answer: Answer, out: TextIO) -> int:
    """Prints columns under each other, numbers to the right; returns the number of rows."""
    rows = iter(answer.rows())
    first = list(islice(rows, _MEASURED))
    shown = [[_cell(value) for value in row] for row in first]
    heading = [one_line(name, _WIDEST) for name in answer.names]
    widths = [max(map(len, column)) for column in zip(heading, *shown, strict=True)]
    right = [
        all(value is None or _is_number(value) for value in column) and bool(column)
        for column in (zip(*first, strict=True) if first else [()] * len(heading))
    ]
    print(_line(heading, widths, right), file=out)
    print(_GAP.join("-" * width for width in widths), file=out)
    count = 0
    for cells in _chained(shown, rows):
        print(_line(cells, widths, right), file=out)
        count += 1
    return count


def print_csv(answer: Answer, out: TextIO) -> int:
    """Prints CSV: a heading, null as nothing, times as `2024-05-06T07:08:09Z`."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(answer.names)
    count = 0
    for row in answer.rows():
        writer.writerow([_csv(value) for value in row])
        count += 1
    return count


def print_json(answer: Answer, out: TextIO) -> int:
    """Prints an array of objects, a row a line. If two columns have one name, the last one counts.

    Decimals and whatever JSON lacks are text; a number that is not finite is null.
    """
    count = 0
    out.write("[")
    for row in answer.rows():
        named = dict(zip(answer.names, map(_json, row), strict=True))
        out.write(("," if count else "") + "\n" + json.dumps(named, ensure_ascii=False))
        count += 1
    out.write("\n]\n" if count else "]\n")
    return count


def _chained(shown: Sequence[Sequence[str]], rows: Iterable[Sequence[Any]]) -> Iterator[list[str]]:
    yield from map(list, shown)
    for row in rows:
        yield [_cell(value) for value in row]


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    fields = (
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    )
    return _GAP.join(fields).rstrip()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1_000 else f"{value:.6g}"  # noqa: PLR2004
    return one_line(_text(value), _WIDEST)


def _csv(value: Any) -> object:
    if value is None or (isinstance(value, int | float | str) and not isinstance(value, bool)):
        return value
    return _text(value)


def _text(value: Any) -> str:
    match value:
        case None | bool():
            return {None: "", True: "true", False: "false"}[value]
        case datetime():
            return _moment(value)
        case Decimal():
            return f"{value:f}"  # without an exponent, which zero has otherwise
        case bytes():
            return base64.b64encode(value).decode()
        case list() | tuple() | dict():
            return json.dumps(_json(value), ensure_ascii=False)
        case _:
            return str(value)


def _moment(value: datetime) -> str:
    """A time in ISO 8601; one of UTC ends with Z."""
    return value.isoformat().replace("+00:00", "Z")


def _json(value: Any) -> Any:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case list() | tuple():
            return [_json(each) for each in value]
        case dict():
            return {str(key): _json(each) for key, each in value.items()}
        case date() | time() | timedelta() | Decimal() | UUID() | bytes():
            return _text(value)
        case _:
            return str(value)
