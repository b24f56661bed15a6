"""A wallet that failed, and how failed wallets are reported to people."""

from collections.abc import Iterable, Iterator

import msgspec

from polycopy_assets.text import counted, first_lines


class Failure(msgspec.Struct, frozen=True):
    """A wallet that could not be fetched, compared or repaired, and why."""

    wallet: str
    reason: str


def by_reason(failures: Iterable[Failure], most: int) -> Iterator[str]:
    """Lines for failed wallets: one for each reason, at most `most`.

    An outage gives thousands of wallets the same reason: it is reported once, with their number.
    """
    wallets: dict[str, list[str]] = {}
    for failure in failures:
        wallets.setdefault(failure.reason, []).append(failure.wallet)
    lines = [_line(reason, named) for reason, named in list(wallets.items())[:most]]
    left = sum(len(named) for named in list(wallets.values())[most:])
    yield from first_lines(lines, most, left=left)


def beside(wallet: str, reason: str) -> str:
    """The reason where the wallet stands beside it: without its address."""
    return reason.replace(f" of {wallet}", "")


def _line(reason: str, wallets: list[str]) -> str:
    if len(wallets) == 1:
        return f"{wallets[0]}: {beside(wallets[0], reason)}"
    return f"{counted(len(wallets), 'wallet')}, the first {wallets[0]}: {reason}"
