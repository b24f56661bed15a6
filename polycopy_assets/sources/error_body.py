"""What a source says of an error: its JSON object, and the trace id in the head of the answer."""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from polycopy_assets.text import EXCERPT, NAME, one_line
from polycopy_assets.trades.odd_json import UNREADABLE, decode

_OBJECT = msgspec.json.Decoder(dict[str, Any])


def error_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object of an error, or nothing: proxies in front of a source answer in HTML."""
    try:
        return decode(_OBJECT, body)
    except UNREADABLE:
        return {}


def message_of(body: Mapping[str, Any]) -> str:
    """What an error says: its code and words; empty if it says nothing."""
    parts = (str(body[key]) for key in ("code", "error", "message", "parameter") if body.get(key))
    return one_line(", ".join(parts), EXCERPT)


def trace_of(response: httpx.Response) -> str:
    """The source's trace id of an answer; empty if it has none."""
    return one_line(response.headers.get("x-trace-id", ""), NAME)


def told(response: httpx.Response) -> str:
    """The same in brackets, for the end of a message."""
    trace = trace_of(response)
    return f" (trace {trace})" if trace else ""
