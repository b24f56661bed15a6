"""The shapes of rows: how the JSON of each source becomes the fields of a feed's table.

Rows are read in one place only. The fetch reads a row here when it is served, and the combine reads
it here again from the segment, so the table gets exactly what the fetch accepted. The source that
served a segment decides the shape of its rows, never the fields that a row happens to have: a field
that the source's contract does not list is never read, whatever its name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Protocol

import msgspec

from polycopy_assets.errors import ContractBroken
from polycopy_assets.text import quoted, said_by
from polycopy_assets.trades.odd_json import UNREADABLE, decode

POLYMARKET = "polymarket"
DOME = "dome"
CHECKPOINT = "checkpoint"
"""The source of adopted rows: the old job, according to its checkpoint."""

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

NO_TRANSACTION = ""
"""The hash of a row that stands for no transaction, in feeds that have such rows."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class ServedRow(Protocol):
    """What every shape of every feed has; time in epoch seconds."""

    wallet: str
    timestamp: int
    tx_hash: str


Strange = Callable[["Shape", Sequence[Any]], Mapping[str, int]]
"""How many of a page's rows have what is valid but strange, in words; see `Shape.oddities`."""


def _nothing_strange(shape: "Shape", rows: Sequence[Any]) -> Mapping[str, int]:
    del shape, rows
    return {}


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
    the attributes that the source usually fills but that may be missing, `strange` counts what else
    is worth a warning.
    """

    def __init__(
        self,
        source: str,
        row: type[msgspec.Struct],
        *,
        listed: Iterable[str] = (),
        labels: Sequence[str] = (),
        strange: Strange = _nothing_strange,
    ) -> None:
        self.source = source
        self.attributes = row.__struct_fields__
        self.listed = frozenset(row.__struct_encode_fields__) | frozenset(listed)
        self._names = dict(zip(row.__struct_fields__, row.__struct_encode_fields__, strict=True))
        self._labels = labels
        self._strange = strange
        self._row: msgspec.json.Decoder[Any] = msgspec.json.Decoder(row)
        self._listed_only: msgspec.json.Decoder[Any] = msgspec.json.Decoder(
            _with_fields(row, sorted(self.listed.difference(row.__struct_encode_fields__)))
        )

    def row(self, raw: bytes | msgspec.Raw) -> ServedRow:
        """`raw` read as a row; raises ContractBroken naming the field that is wrong."""
        try:
            return decode(self._row, raw)
        except UNREADABLE as error:
            raise ContractBroken(said_by(error)) from error

    def listed_rows(self, lines: bytes) -> list[ServedRow] | None:
        """The rows, one JSON object a line, if no field of them is unknown; None otherwise.

        None also if a row is not as the contract says, or the decoder refuses it.
        """
        try:
            return self._listed_only.decode_lines(lines)
        except (*UNREADABLE, RecursionError):
            return None

    def rows(self, lines: bytes, first: int = 1) -> list[ServedRow]:
        """The rows of a segment, one JSON object a line, in the order in which they were served.

        `first` is the number of the first line. Raises ContractBroken naming the line that is not
        a row.
        """
        try:
            return self._row.decode_lines(lines)
        except (*UNREADABLE, RecursionError):
            return list(self._one_by_one(lines, first))

    def _one_by_one(self, lines: bytes, first: int) -> Iterator[ServedRow]:
        for number, line in enumerate(lines.removesuffix(b"\n").split(b"\n"), first):
            try:
                yield self.row(line)
            except ContractBroken as error:
                raise ContractBroken(f"line {number}: {error}") from error

    def name(self, attribute: str) -> str:
        """What the source calls the field."""
        return self._names[attribute]

    def oddities(self, rows: Sequence[ServedRow]) -> dict[str, int]:
        """How many of the rows have what is valid but strange, for a warning."""
        counts = {
            f"no {self._names[label]}": list(map(attrgetter(label), rows)).count(None)
            for label in self._labels
        }
        counts |= self._strange(self, rows)
        return {what: count for what, count in counts.items() if count}


class Shapes:
    """The shapes of one feed's rows, by the source that served them.

    `guess` says which source served the lines of a segment that does not name it: an older version
    wrote it. A feed that was never written without its source has none.
    """

    def __init__(
        self, shapes: Iterable[Shape], guess: Callable[[bytes], str] | None = None
    ) -> None:
        self._shapes = {shape.source: shape for shape in shapes}
        self._guess = guess

    @property
    def sources(self) -> frozenset[str]:
        """The sources whose rows can be read."""
        return frozenset(self._shapes)

    def of(self, source: str) -> Shape:
        """The shape of what `source` served; raises ContractBroken if there is no such source."""
        try:
            return self._shapes[source]
        except KeyError:
            raise ContractBroken(
                f"served by {quoted(source)}, which this version cannot read"
            ) from None

    def guess(self, lines: bytes) -> str:
        """The source of the rows of a segment that does not name it.

        Raises ContractBroken if the rows have the shape of no source, or of more than one.
        """
        if self._guess is None:
            raise ContractBroken("rows that do not say which source served them")
        return self._guess(lines)


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


def fits(shape: Shape, raw: bytes) -> bool:
    """Whether a row has that shape."""
    try:
        shape.row(raw)
    except ContractBroken:
        return False
    return True
