"""Rows with odd JSON in them, for wallets that are set to get one."""

from typing import Any

import msgspec

_OTHER = '"0x' + "9" * 40 + '"'

FIRST = {
    "twice_key": f'"proxy_wallet":{_OTHER},"user":{_OTHER},"timestamp":1,"side":"SELL"',
}
"""Members before those of the row, some of the same name: a reader may take the first."""

LAST = {
    "huge_number": '"unlisted":1e400,"longer":' + "9" * 400,
    "other_names": '"polycopy_source":"elsewhere","side_":"?"',
    "deep_nesting": '"unlisted":' + "[" * 5000 + "]" * 5000,
    "half_emoji": r'"bio":"\ud83d","unlisted":"\ude00"',
    "no_labels": '"title":null,"slug":null,"outcome":null,"market_slug":null,"token_label":null',
    "strange_values": '"price":1.5,"size":-3,"shares_normalized":-3',
    "broken_text": '"title":"\udcff"',
    "text_for_time": '"timestamp":"yesterday"',
    "huge_time": '"timestamp":' + "9" * 40,
}
"""Members after those of the row."""

ODD_ROWS = (*FIRST, *LAST)
"""What a row can have. `broken_text`, `text_for_time` and `huge_time` break the contract."""

_OTHERS = {
    "proxy_wallet": '"tx_hash":"0xfeed","user":7,"shares_normalized":"many","log_index":"seven"',
    "user": f'"transaction_hash":"0xfeed","proxy_wallet":{_OTHER},"size":"many","outcome":3',
}
"""The names of the other contract, which this one does not list."""


def odd_row(kind: str, row: dict[str, Any]) -> msgspec.Raw:
    """`row` as JSON text with the oddity `kind`."""
    text = msgspec.json.encode(row)[1:-1]
    members = [text]
    if kind in FIRST:
        members.insert(0, _bytes(FIRST[kind]))
    if kind in LAST:
        members.append(_bytes(LAST[kind]))
    if kind == "other_names":
        members += [_bytes(names) for wallet, names in _OTHERS.items() if wallet in row]
    return msgspec.Raw(b"{" + b",".join(members) + b"}")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
