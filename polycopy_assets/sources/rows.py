"""Rows as served: kept byte by byte, looked at once to see that they are what they should be."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.trades.page import Row

T = TypeVar("T", bound=msgspec.Struct)

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class RowReader:
    """Reads rows of one shape.

    `shape` lists the fields the table needs, `known` all that the contract names; `look` picks
    wallet, timestamp (epoch seconds) and transaction from a decoded row.
    """

    def __init__(
        self, shape: type[T], known: frozenset[str], look: Callable[[T], tuple[str, int, str]]
    ) -> None:
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(shape)
        self._known = known
        self._look: Callable[[Any], tuple[str, int, str]] = look

    def read(self, rows: list[msgspec.Raw]) -> tuple[list[Row], Mapping[str, int]]:
        """The rows, and how many have each of the fields that the contract does not list.

        Raises ContractBroken naming the field that is missing or of the wrong type.
        """
        unknown: Counter[str] = Counter()
        read: list[Row] = []
        for number, raw in enumerate(rows):
            try:
                wallet, timestamp, tx_hash = self._look(self._decoder.decode(raw))
            except msgspec.DecodeError as error:
                raise ContractBroken(f"row {number} of a page: {error}") from error
            unknown.update(_FIELDS.decode(raw).keys() - self._known)
            read.append(Row(wallet.lower(), timestamp, tx_hash, one_line(bytes(raw))))
        return read, unknown


def one_line(raw: bytes) -> bytes:
    """The same JSON without line breaks, so that it can stand as one line of a file."""
    if b"\n" in raw or b"\r" in raw:
        return msgspec.json.format(raw, indent=-1)
    return raw


def decode_page(body: bytes, shape: type[T]) -> T:
    """The page that `body` holds; raises ContractBroken naming what is not as promised."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:
        raise ContractBroken(f"a page that is not in the documented shape: {error}") from error
