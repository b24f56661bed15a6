"""Answers that break the contract, for wallets that are set to have such a fault."""

from typing import Any

import msgspec

from polycopy_assets.demo.odd_rows import ODD_ROWS, odd_row

UNKNOWN_TYPE = "AIRDROP"


class Names(msgspec.Struct, frozen=True):
    """What a contract calls the wallet of a row, and the cursor in `pagination`."""

    wallet: str
    cursor: str


def break_page(
    kind: str | None, body: dict[str, Any], rows: list[Any], limit: int, names: Names
) -> None:
    """Changes `body` and its `rows` so that they have the fault `kind`."""
    pagination = body["pagination"]
    if kind == "repeated_cursor":
        pagination.update({"has_more": True, names.cursor: "the-same-again"})
    elif kind == "has_more_without_cursor":
        pagination.update({"has_more": True, names.cursor: None})
    elif kind == "repeated_page":
        pagination.update({"has_more": True, names.cursor: f"another-{id(body)}"})
    elif kind == "oversized_page":
        rows.extend(rows[-1:] * (limit + 1 - len(rows)))
    elif kind == "wrong_order":
        rows.reverse()
    elif kind in ODD_ROWS and rows:
        rows[0] = odd_row(kind, rows[0])
    elif rows:
        _break_row(kind, rows[0], names)


def _break_row(kind: str | None, row: dict[str, Any], names: Names) -> None:
    if kind == "out_of_bounds":
        row["timestamp"] += 10**9
    elif kind == "foreign_row":
        row[names.wallet] = "0x" + "9" * 40
    elif kind == "missing_field":
        del row["price"]
    elif kind == "extra_field":
        row["is_combo"] = False
    elif kind == "unknown_type" and "type" in row:
        row["type"] = UNKNOWN_TYPE
