"""Facts as objects of the store: numbered, never rewritten, JSON lines.

`dimensions/{number}-{kind}.jsonl.gz`, eight digits. A `change` has new versions of conditions; a
`whole` has all versions of all objects before it, so that those may be deleted. The first line is a
header. A name can be created once: of two runs that write the same change, one fails.
"""

import io
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Literal, NamedTuple, cast

import msgspec
from isal import igzip, isal_zlib

from polycopy_assets.dimensions.facts import Facts
from polycopy_assets.errors import ContractBroken, ObjectUnreadable, no_number_left
from polycopy_assets.text import said_by

PREFIX = "dimensions/"
TABLES = "dimensions/tables/"
"""Where the tables lie as Parquet files, to be loaded; the latest of each."""

TO_DO = f"delete the folder {PREFIX}, and start this again: it asks for every condition again"
"""What helps if an object is damaged. Only since when something held is lost."""

VERSION = 1

Kind = Literal["change", "whole"]

_LAST = 99_999_999

_NAME = re.compile(rf"{PREFIX}([0-9]{{8}})-(change|whole)\.jsonl\.gz")
_GZIP = 31
"""The window bits by which zlib writes gzip; its header then has no time."""

_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    cast("type[Exception]", isal_zlib.error),
)

_ENCODER = msgspec.json.Encoder()
_FACTS = msgspec.json.Decoder(Facts)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line: all conditions of the batches up to `batch` are in this or earlier objects.

    `batch` is one of the first feed, `batches` are those of other feeds, by the feed's name.
    `lines` is how many versions follow.
    """

    version: int = VERSION
    batch: int
    lines: int
    batches: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


_HEADER = msgspec.json.Decoder(Header)


class Numbered(NamedTuple):
    """An object by its name."""

    number: int
    kind: str

    @property
    def name(self) -> str:
        """Its name in the store; raises StoreError if the numbers are used up."""
        if self.number > _LAST:
            raise no_number_left(PREFIX)
        return f"{PREFIX}{self.number:08d}-{self.kind}.jsonl.gz"


def parse_name(name: str) -> Numbered | None:
    """Which object a name is; None for any other object."""
    found = _NAME.fullmatch(name)
    return Numbered(int(found[1]), found[2]) if found else None


def table_file(number: int, table: str) -> str:
    """`dimensions/tables/{number}-{table}.parquet`: what all objects up to `number` say."""
    return f"{TABLES}{number:08d}-{table}.parquet"


def that_count(names: Iterable[str]) -> list[Numbered]:
    """The objects that say everything: the last whole one, and the changes after it, in order.

    A change of the same number as the whole one was made at the same time by another process, and
    is not in it.
    """
    every = [found for name in names if (found := parse_name(name))]
    last = max((each.number for each in every if each.kind == "whole"), default=0)
    counting = [each for each in every if each.number >= last]
    return sorted(counting, key=lambda each: (each.number, each.kind != "whole"))


def pack(
    lines: Iterable[bytes],
    batch: int,
    count: int,
    batches: Mapping[str, int] = MappingProxyType({}),
) -> bytes:
    """The bytes of an object with `count` versions, each one line as `line` makes it."""
    packer = isal_zlib.compressobj(wbits=_GZIP)
    others = dict(batches) or msgspec.UNSET
    header = _ENCODER.encode(Header(batch=batch, lines=count, batches=others))
    every = (packer.compress(text + b"\n") for text in (header, *lines))
    return b"".join([*every, packer.flush()])


def line(facts: Facts) -> bytes:
    """A version as a line, without its line break."""
    return _ENCODER.encode(facts)


def facts_of(text: bytes) -> Facts:
    """The version in a line; raises msgspec.DecodeError."""
    return _FACTS.decode(text)


def header_of(data: bytes, name: str) -> Header:
    """The header of an object; raises as `lines_of`."""
    with _reading(name), igzip.IGzipFile(fileobj=io.BytesIO(data)) as file:
        return _header(file.readline(), name)


def lines_of(data: bytes, name: str) -> Iterator[bytes]:
    """The lines of an object, one at a time.

    Raises ContractBroken if it is damaged, perhaps after some lines, and ObjectUnreadable if a
    newer polycopy has written it.
    """
    with _reading(name), igzip.IGzipFile(fileobj=io.BytesIO(data)) as file:
        header = _header(file.readline(), name)
        lines = 0
        for text in file:
            lines += 1
            yield text.removesuffix(b"\n")
        if lines != header.lines:
            raise ContractBroken(f"{name} is damaged: {lines} of {header.lines} lines; {TO_DO}")


def versions(lines: Iterable[bytes], name: str) -> Iterator[tuple[Facts, bytes]]:
    """The version in each line of object `name`, and the line.

    Raises ContractBroken for a line that is no version.
    """
    for number, text in enumerate(lines, 2):
        try:
            yield facts_of(text), text
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ContractBroken(f"line {number} of {name}: {said_by(error)}; {TO_DO}") from error


class _Version(msgspec.Struct, frozen=True):
    version: int


def _header(text: bytes, name: str) -> Header:
    if msgspec.json.decode(text, type=_Version).version > VERSION:
        raise ObjectUnreadable(name, "was written by a newer polycopy: update this one")
    return _HEADER.decode(text)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise ContractBroken(f"{name} is damaged: {said_by(error)}; {TO_DO}") from error
