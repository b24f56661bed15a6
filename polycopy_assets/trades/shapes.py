"""The shapes of rows: how the JSON of each source becomes the fields of the table.

Rows are read in one place only. The fetch reads a row here when it is served, and the combine reads
it here again from the segment, so the table gets exactly what the fetch accepted. The source that
served a segment decides the shape of its rows, never the fields that a row happens to have: a field
that the source's contract does not list is never read, whatever its name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Literal, Protocol

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.text import quoted, said_by
from polycopy_assets.trades.odd_json import UNREADABLE, decode

POLYMARKET = "polymarket"
DOME = "dome"
CHECKPOINT = "checkpoint"
"""The source of adopted rows: the old job, according to its checkpoint."""

SOURCE_FIELD = "polycopy_source"
"""Marks an adopted row as not served by a source. It is for people; nothing reads it."""

NO_LABEL = 999
"""The outcome index that means that Data API v2 could not label the outcome."""

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

Text = Annotated[str, msgspec.Meta(min_length=1)]
Side = Literal["BUY", "SELL"]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Trade(Protocol):
    """What every shape has. Size in shares, price in USDC per share, time in epoch seconds."""

    wallet: str
    timestamp: int
    side: str
    price: float
    shares: float
    tx_hash: str


class _Polymarket(
    msgspec.Struct,
    gc=False,
    frozen=True,
    rename={
        "wallet": "proxy_wallet",
        "tx_hash": "transaction_hash",
        "shares": "size",
        "token_label": "outcome",
        "market_slug": "slug",
    },
):
    """A row of `GET /v2/trades`. Labels may be missing; the rest may not."""

    wallet: Text
    timestamp: Int64
    side: Side
    price: float
    shares: float
    token_id: str
    condition_id: str
    tx_hash: Text
    token_label: str | None = None
    title: str | None = None
    market_slug: str | None = None
    event_slug: str | None = None
    outcome_index: Int64 | None = None


class _Dome(
    msgspec.Struct, gc=False, frozen=True, rename={"wallet": "user", "shares": "shares_normalized"}
):
    """A row of `GET /polymarket/orders`."""

    wallet: Text
    timestamp: Int64
    side: Side
    price: float
    shares: float
    token_id: str
    tx_hash: Text
    condition_id: str | None = None
    token_label: str | None = None
    title: str | None = None
    market_slug: str | None = None
    order_hash: str | None = None
    taker: str | None = None
    log_index: Int64 | None = None


class _Adopted(
    msgspec.Struct, gc=False, frozen=True, rename={"wallet": "user", "shares": "shares_normalized"}
):
    """A row of an old job's file, as `migration.old_job` writes it."""

    wallet: Text
    timestamp: Int64
    side: Side
    price: float
    shares: float
    tx_hash: Text
    token_id: str | None = None
    condition_id: str | None = None
    token_label: str | None = None
    title: str | None = None
    market_slug: str | None = None
    order_hash: str | None = None
    taker: str | None = None


def _with_fields(row: type[msgspec.Struct], names: Sequence[str]) -> type[msgspec.Struct]:
    """The same row with more fields, which may hold anything; it refuses all others."""
    # An attribute of its own for each: a name may be that of an attribute for another field.
    attributes = {f"also_{number}": name for number, name in enumerate(names)}
    return msgspec.defstruct(
        f"{row.__name__}Listed",
        [(attribute, msgspec.Raw, msgspec.Raw()) for attribute in attributes],
        bases=(row,),
        rename=attributes,
        kw_only=True,
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
    )


class Shape:
    """How the rows of one source are read.

    `listed` names the fields that the source's contract lists but the table does not need, `labels`
    the attributes that the source usually fills but that may be missing.
    """

    def __init__(
        self,
        source: str,
        row: type[msgspec.Struct],
        *,
        listed: Iterable[str] = (),
        labels: Sequence[str] = (),
    ) -> None:
        self.source = source
        self.attributes = row.__struct_fields__
        self.listed = frozenset(row.__struct_encode_fields__) | frozenset(listed)
        self._names = dict(zip(row.__struct_fields__, row.__struct_encode_fields__, strict=True))
        self._labels = labels
        self._row: msgspec.json.Decoder[Any] = msgspec.json.Decoder(row)
        self._listed_only: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            _with_fields(row, sorted(self.listed.difference(row.__struct_encode_fields__)))
        )

    def row(self, raw: bytes | msgspec.Raw) -> Trade:
        """`raw` read as a row; raises ContractBroken naming the field that is wrong."""
        try:
            return decode(self._row, raw)
        except UNREADABLE as error:
            raise ContractBroken(said_by(error)) from error

    def listed_rows(self, lines: bytes) -> list[Trade] | None:
        """The rows, one JSON object a line, if no field of them is unknown; None otherwise.

        None also if a row is not as the contract says, or the decoder refuses it.
        """
        try:
            return self._listed_only.decode_lines(lines)
        except (*UNREADABLE, RecursionError):
            return None

    def rows(self, lines: bytes, first: int = 1) -> list[Trade]:
        """The rows of a segment, one JSON object a line, in the order in which they were served.

        `first` is the number of the first line. Raises ContractBroken naming the line that is not
        a row.
        """
        try:
            return self._row.decode_lines(lines)
        except (*UNREADABLE, RecursionError):
            return list(self._one_by_one(lines, first))

    def _one_by_one(self, lines: bytes, first: int) -> Iterator[Trade]:
        for number, line in enumerate(lines.removesuffix(b"\n").split(b"\n"), first):
            try:
                yield self.row(line)
            except ContractBroken as error:
                raise ContractBroken(f"line {number}: {error}") from error

    def oddities(self, rows: Sequence[Trade]) -> dict[str, int]:
        """How many of the rows have what is valid but strange, for a warning."""
        prices = list(map(attrgetter("price"), rows))
        shares = list(map(attrgetter("shares"), rows))
        counts = {
            f"no {self._names[label]}": list(map(attrgetter(label), rows)).count(None)
            for label in self._labels
        }
        if rows and not 0 <= min(prices) <= max(prices) <= 1:
            counts["price above 1"] = sum(price > 1 for price in prices)
            counts["price below 0"] = sum(price < 0 for price in prices)
        if rows and min(shares) <= 0:
            counts[f"{self._names['shares']} not above 0"] = sum(each <= 0 for each in shares)
        return {what: count for what, count in counts.items() if count}


SHAPES: Mapping[str, Shape] = {
    shape.source: shape
    for shape in (
        Shape(
            POLYMARKET,
            _Polymarket,
            listed=("icon", "name", "pseudonym", "bio", "profile_image", "profile_image_optimized"),
            labels=("token_label", "title", "market_slug"),
        ),
        Shape(
            DOME,
            _Dome,
            listed=("shares", "block_number"),
            labels=("token_label", "title", "market_slug"),
        ),
        Shape(CHECKPOINT, _Adopted, listed=(SOURCE_FIELD,)),
    )
}
"""The shape of the rows of each source."""


def shape_of(source: str) -> Shape:
    """The shape of what `source` served; raises ContractBroken if there is no such source."""
    try:
        return SHAPES[source]
    except KeyError:
        raise ContractBroken(
            f"served by {quoted(source)}, which this version cannot read"
        ) from None


def guess_source(lines: bytes) -> str:
    """The source of the rows of a segment that does not name it: an older version wrote it.

    Raises ContractBroken if the rows have the shape of no source, or of more than one.
    """
    first, _, _ = lines.partition(b"\n")
    if field_names(first) == SHAPES[CHECKPOINT].listed:
        return CHECKPOINT
    fitting = [source for source in (POLYMARKET, DOME) if _fits(SHAPES[source], first)]
    if len(fitting) != 1:
        raise ContractBroken(f"rows that {' and '.join(fitting) or 'no source'} could have served")
    return fitting[0]


def field_names(raw: bytes | msgspec.Raw) -> frozenset[str]:
    """The names of a row's fields; raises ContractBroken if it is not a JSON object."""
    try:
        return frozenset(decode(_FIELDS, raw))
    except UNREADABLE:
        text = bytes(raw).decode(errors="replace").encode()  # a name that is not UTF-8
    try:
        return frozenset(decode(_FIELDS, text))
    except UNREADABLE as error:
        raise ContractBroken(said_by(error)) from error


def _fits(shape: Shape, raw: bytes) -> bool:
    try:
        shape.row(raw)
    except ContractBroken:
        return False
    return True
