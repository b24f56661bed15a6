"""The old job's files: one JSON object a line, Dome's shape reduced, times as text.

They are read to be adopted: a line becomes a row in Dome's shape that names its origin.
"""

import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Literal

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.feeds.trades.shapes import SOURCE_FIELD
from polycopy_assets.text import NAME, one_line, quoted, said_by
from polycopy_assets.trades.cutter import SEGMENT_BYTES, Cutter, Draft
from polycopy_assets.trades.interval import BEGINNING, Interval
from polycopy_assets.trades.page import Row, Rows
from polycopy_assets.trades.segment import LATEST
from polycopy_assets.trades.shapes import CHECKPOINT
from polycopy_assets.trades.wallet import ADDRESS

BOM = b"\xef\xbb\xbf"
"""A byte order mark, which some editors write at the start of a text file."""

_FOLDER = "trades/"
_SUFFIX = ".jsonl"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d.\d\d:\d\d:\d\d")
_TOKEN = re.compile(r"[0-9]+")
_UTC = " UTC"
_AT_ONCE = 1000  # rows, as many as a page has
"""BigQuery appends this to a time when it exports one."""

Text = Annotated[str, msgspec.Meta(min_length=1)]


class OldTrade(msgspec.Struct):
    """A line of an old file; `timestamp` is `YYYY-MM-DD HH:MM:SS`, taken as UTC.

    The old `id` is the order's hash, or else the transaction's.
    """

    wallet_address: Text
    timestamp: str | int
    side: Literal["BUY", "SELL"]
    price: float
    shares_normalized: float
    tx_hash: Text
    id: str | None = None
    token_id: str | None = None
    token_label: str | None = None
    condition_id: str | None = None
    order_hash: str | None = None
    taker: str | None = None
    market_slug: str | None = None
    title: str | None = None

    @property
    def order(self) -> str | None:
        """The hash of the order that was filled, if the line has it."""
        order = self.order_hash or self.id
        return None if order and order.lower() == self.tx_hash.lower() else order


# The old job loaded its files into typed columns, so numbers may be written as text.
_decoder = msgspec.json.Decoder(OldTrade, strict=False)


def parse_old_name(name: str) -> str | None:
    """The wallet in an old file's name, in lower case; None if it is not such a name."""
    if not name.startswith(_FOLDER) or not name.endswith(_SUFFIX):
        return None
    wallet = name[len(_FOLDER) : -len(_SUFFIX)].lower()
    return wallet if ADDRESS.fullmatch(wallet) else None


def read_line(line: bytes, wallet: str) -> tuple[int, OldTrade]:
    """Second and trade of a line; raises ContractBroken if it is not a trade of `wallet`."""
    try:
        trade = _decoder.decode(line)
        seconds = _seconds(trade.timestamp)
    except RecursionError as error:
        raise ContractBroken("not a trade: it is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise ContractBroken(f"not a trade: {said_by(error)}") from error
    if not BEGINNING < seconds < LATEST:
        raise ContractBroken(f"not a trade: its time is {one_line(repr(trade.timestamp), NAME)}")
    if not (math.isfinite(trade.price) and math.isfinite(trade.shares_normalized)):
        raise ContractBroken(
            f"not a trade: {trade.shares_normalized} shares at the price {trade.price}"
        )
    if trade.token_id is not None and not _TOKEN.fullmatch(trade.token_id):
        # A tool that reads it as a number rounds it: 1.0467341126170468e+76.
        raise ContractBroken(
            f"not a trade: its token id is no run of digits: {quoted(trade.token_id)}"
        )
    if trade.wallet_address.strip().lower() != wallet:
        raise ContractBroken(f"of another wallet: {quoted(trade.wallet_address)}")
    return seconds, trade


def as_row(line: bytes, wallet: str) -> Row:
    """The row in Dome's shape that a line becomes; raises ContractBroken like `read_line`."""
    seconds, trade = read_line(line, wallet)
    return Row(wallet, seconds, trade.tx_hash, _served(trade, wallet, seconds))


def cut(rows: Iterable[Row], span: Interval, segment_bytes: int = SEGMENT_BYTES) -> Iterator[Draft]:
    """The segments that cover `span` with `rows`, which lie in it, newest first."""
    cutter = Cutter(span.until, CHECKPOINT, segment_bytes)
    waiting = iter(rows)
    while some := list(islice(waiting, _AT_ONCE)):
        yield from cutter.add_all(Rows.of(some))
    yield cutter.finish(span.start)


def _seconds(text: str | int) -> int:
    if isinstance(text, int):
        return text
    moment = text.strip()
    if moment.endswith(_UTC):
        moment = f"{moment.removesuffix(_UTC)}+00:00"
    told = datetime.fromisoformat(moment)
    if not _MOMENT.match(moment):
        raise ValueError(f"no time of day in {quoted(text)}")
    return int((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp())


def _served(trade: OldTrade, wallet: str, seconds: int) -> bytes:
    """The line in Dome's shape."""
    return msgspec.json.encode(
        {
            "user": wallet,
            "side": trade.side,
            "token_id": trade.token_id,
            "token_label": trade.token_label,
            "condition_id": trade.condition_id,
            "price": trade.price,
            "shares_normalized": trade.shares_normalized,
            "timestamp": seconds,
            "tx_hash": trade.tx_hash,
            "order_hash": trade.order,
            "taker": trade.taker,
            "market_slug": trade.market_slug,
            "title": trade.title,
            SOURCE_FIELD: CHECKPOINT,
        }
    )
