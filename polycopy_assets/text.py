"""Texts that others wrote, made fit for a terminal, a log and a page: one line, harmless, short.

An error body can hold a terminal's escape sequences, a reason phrase a line break that forges a
line of the log, a wallet's text a mark that turns the rest of the line around. All of them are
shown as escapes. Every error of ours passes here (`errors.PolycopyError`); whoever puts a text from
outside into a sentence cuts it here first, so that the rest of the sentence is still seen.
"""

from collections.abc import Iterable, Iterator

MESSAGE = 2000
"""Characters of a whole message."""

EXCERPT = 500
"""Characters of what somebody else says within a message: an error body, a library's exception."""

NAME = 80
"""Characters of a single name or value: it may be a whole file."""


def one_line(text: object, limit: int = EXCERPT) -> str:
    r"""The beginning of `text` in one line of at most `limit` characters, and `…` if it was cut.

    Whatever does not print is escaped: line breaks, ANSI sequences, bidirectional controls, lone
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


def said_by(error: BaseException, limit: int = EXCERPT) -> str:
    """What a library's exception says, in one line; its own line breaks and indents are spaces."""
    return one_line(" ".join(str(error).split()), limit)


def by_reason(failures: Iterable[tuple[str, str]], most: int) -> Iterator[str]:
    """Lines for failed wallets, given as (wallet, reason): one for each reason, at most `most`.

    An outage gives thousands of wallets the same reason: it is said once, with their number.
    """
    wallets: dict[str, list[str]] = {}
    for wallet, reason in failures:
        wallets.setdefault(reason, []).append(wallet)
    for reason, named in list(wallets.items())[:most]:
        if len(named) == 1:
            yield f"{named[0]}: {reason}"
        else:
            yield f"{len(named):,} wallets, the first {named[0]}: {reason}"
    left = sum(len(named) for named in list(wallets.values())[most:])
    if left:
        yield f"and {left:,} more"
