"""Text from outside, made safe for a terminal, a log and a page: one line, harmless, short.

An error body can hold a terminal's escape sequences, a reason phrase a line break that forges a
line of the log, a wallet's text a mark that reverses the rest of the line. All of them are shown as
escapes. All our errors pass through here (`errors.PolycopyError`); code that puts text from outside
into a sentence cuts it here first, so that the rest of the sentence stays visible.
"""

from collections.abc import Iterable, Iterator, Sequence

MESSAGE = 2000
"""Characters of a whole message."""

EXCERPT = 500
"""Characters of text from outside within a message: an error body, a library's exception."""

NAME = 80
"""Characters of a single name or value: it may be a whole file."""


_MINUTE, _HOUR = 60, 3600
_THOUSAND, _ROUNDS_UP = 1_000, 999.95
_UNITS = ("kB", "MB", "GB", "TB")


def one_line(text: object, limit: int = EXCERPT) -> str:
    r"""The beginning of `text` in one line of at most `limit` characters, and `…` if it was cut.

    Unprintable characters are escaped: line breaks, ANSI sequences, bidirectional controls, lone
    surrogates. `"a\nb"` becomes `"a\\nb"`.
    """
    given = str(text)
    shown: list[str] = []
    room = limit
    for character in given[:limit]:
        escaped = character if character.isprintable() else ascii(character)[1:-1]
        room -= len(escaped)
        if room < 0:
            break
        shown.append(escaped)
    return "".join(shown) + ("…" if len(shown) < len(given) else "")


def quoted(text: object, limit: int = NAME) -> str:
    """`one_line` between quotation marks: for a value that a sentence names."""
    return f"'{one_line(text, limit)}'"


def said_by(error: object, limit: int = EXCERPT) -> str:
    """What a library or its exception says, in one line; line breaks and indents become spaces."""
    return one_line(" ".join(str(error).split()), limit)


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`: a time that people read at a glance."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR:,} h {whole % _HOUR // _MINUTE} min"


def size(count: int) -> str:
    """`812 bytes`, `3.4 kB`, `1.2 MB`: a number of bytes that people read at a glance."""
    if count < _THOUSAND:
        return counted(count, "byte")
    amount, power = float(count), 0
    while amount >= _ROUNDS_UP and power < len(_UNITS):
        amount, power = amount / _THOUSAND, power + 1
    return f"{amount:.1f} {_UNITS[power - 1]}"


def counted(number: int, one: str, more: str = "") -> str:
    """`1 wallet`, `2,000 wallets`: a number and what it counts, in the singular or the plural.

    `more` is the plural where it is not `one` and an s: `counted(n, "wallet has", "wallets have")`.
    """
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def listed(names: Iterable[str]) -> str:
    """`trades, activity and tips`: names as a sentence has them."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def first_few(names: Iterable[str], most: int) -> str:
    """`a, b and 5 more`: the first `most` of `names`, and how many are left out."""
    every = list(names)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def first_lines(
    lines: Sequence[str], most: int, lead: str = "", left: int | None = None
) -> Iterator[str]:
    """The first `most` of `lines`, each after `lead`, and a line with how many are left out.

    `left` is their number where `lines` does not hold them all.
    """
    yield from (lead + line for line in lines[:most])
    more = len(lines) - most if left is None else left
    if more > 0:
        yield f"{lead}and {more:,} more"
