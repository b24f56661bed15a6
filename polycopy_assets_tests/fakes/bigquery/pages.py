"""Rows of the double as the interface shows them, page by page."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from polycopy_assets_tests.fakes.bigquery.model import micros


def page(
    rows: Sequence[tuple[Any, ...]], parameters: Mapping[str, str], most: int
) -> dict[str, Any]:
    """Some of the rows, and the token of the next page; no rows if it is asked for none."""
    first = int(parameters.get("pageToken") or parameters.get("startIndex") or 0)
    size = int(parameters.get("maxResults", most))
    whole = parameters.get("formatOptions.useInt64Timestamp", "").lower() == "true"
    body: dict[str, Any] = {"totalRows": str(len(rows))}
    if size:
        body["rows"] = [
            {"f": [{"v": _cell(value, whole=whole)} for value in row]}
            for row in rows[first : first + size]
        ]
        if first + size < len(rows):
            body["pageToken"] = str(first + size)
    return body


def _cell(value: Any, *, whole: bool) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return str(micros(value)) if whole else repr(micros(value) / 1e6)
    return str(value)
