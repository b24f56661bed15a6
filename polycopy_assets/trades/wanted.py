"""The wanted list: objects of the store that say which wallets are collected, and since when.

Objects are numbered without gaps, and created once: the number orders the changes of all writers.
An object holds either changes, or everything that is known, so that earlier ones need not be read.
"""

import gzip
import re
import zlib
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

import msgspec

from polycopy_assets.errors import ContractBroken, InvalidWallet, StoreError, no_number_left
from polycopy_assets.text import quoted
from polycopy_assets.trades.wallet import ADDRESS

WANTED = "wanted/"
FORM = 1
_LAST = 9_999_999_999
_NAME = re.compile(r"wanted/([0-9]{10})\.jsonl\.gz")


class State(StrEnum):
    """What is wanted of a wallet."""

    WANTED = "wanted"
    """It is collected."""

    REMOVED = "removed"
    """It is not collected any more; what is stored of it stays."""

    PURGING = "purging"
    """It is not collected any more, and what is stored of it is being deleted."""

    PURGED = "purged"
    """The same, and nothing is left."""


DELETED = frozenset({State.PURGING, State.PURGED})
"""What is stored of such a wallet is deleted, or is about to be."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A statement about a wallet; a later one replaces it. `at` is epoch seconds, of the writer."""

    wallet: str
    state: State
    at: int


class _Form(msgspec.Struct, frozen=True):
    form: int


class _Header(_Form, frozen=True, kw_only=True):
    whole: bool


class Packed(NamedTuple):
    """What an object holds; with `whole` it is all that is known, without it what has changed."""

    whole: bool
    entries: list[Entry]


def wanted_name(number: int) -> str:
    """`wanted/{number}.jsonl.gz`, ten digits; raises StoreError if they are used up."""
    if number > _LAST:
        raise no_number_left(WANTED)
    return f"{WANTED}{number:010d}.jsonl.gz"


def parse_wanted_name(name: str) -> int | None:
    """The number in the name of an object of the list; None if it is no such name."""
    found = _NAME.fullmatch(name)
    return int(found[1]) if found else None


def pack(entries: Iterable[Entry], *, whole: bool) -> bytes:
    """An object of the list: gzip, one JSON value a line; the same entries give the same bytes.

    Raises InvalidWallet: an object with a text that is no wallet could not be read again.
    """
    items = list(entries)
    if (wrong := _not_a_wallet(items)) is not None:
        raise InvalidWallet(f"not a wallet: {quoted(wrong)}")
    lines = msgspec.json.Encoder().encode_lines([_Header(form=FORM, whole=whole), *items])
    return gzip.compress(lines, compresslevel=6, mtime=0)


def unpack(data: bytes) -> Packed:
    """What an object of the list holds.

    Raises ContractBroken if it is damaged, StoreError if a newer version wrote it.
    """
    try:
        first, _, rest = gzip.decompress(data).partition(b"\n")
        # By itself: the rest of a newer version's header may be anything.
        if (form := msgspec.json.decode(first, type=_Form).form) > FORM:
            raise StoreError(
                f"the wanted list was written by a newer version of polycopy (form {form})"
            )
        header = msgspec.json.decode(first, type=_Header)
        entries = msgspec.json.Decoder(Entry).decode_lines(rest)
    except (OSError, EOFError, zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ContractBroken(str(error)) from error
    if (wrong := _not_a_wallet(entries)) is not None:
        raise ContractBroken(f"not a wallet: {quoted(wrong)}")
    return Packed(header.whole, entries)


def _not_a_wallet(entries: Iterable[Entry]) -> str | None:
    """The first text that is no wallet; None if all are."""
    return next((item.wallet for item in entries if not ADDRESS.fullmatch(item.wallet)), None)
