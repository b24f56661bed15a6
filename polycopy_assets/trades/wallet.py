"""What a wallet is: the only place where a text becomes a partition key, a path, a parameter."""

import re
from collections.abc import Iterable, Iterator, Sequence

from polycopy_assets.errors import InvalidWallet
from polycopy_assets.text import first_lines, quoted

ADDRESS = re.compile(r"0x[0-9a-f]{40}")

_EXPECTED = "expected 0x and 40 hex digits"
_NAMED = 10


def parse_wallet(text: str) -> str:
    """The wallet that `text` names: lower case, `0x` and 40 hexadecimal digits.

    Case and surrounding white space do not matter. Raises InvalidWallet for anything else.
    """
    wallet = text.strip().lower()
    if not ADDRESS.fullmatch(wallet):
        raise InvalidWallet(f"not a wallet: {quoted(text.strip())} ({_EXPECTED})")
    return wallet


def sort_out(texts: Iterable[str | None]) -> tuple[list[str], list[str]]:
    """Valid wallets in order of first appearance, each once, and the refused texts as given."""
    wallets: dict[str, None] = {}
    refused: list[str] = []
    for text in texts:
        try:
            wallets[parse_wallet(text or "")] = None
        except InvalidWallet:
            refused.append(text or "")
    return list(wallets), refused


def refusals(texts: Sequence[str], where: str = "") -> Iterator[str]:
    """Lines that name the first few of the refused `texts`, found `where`, and count the others."""
    lines = [f"{quoted(text)}{where} is not a wallet ({_EXPECTED})" for text in texts]
    yield from first_lines(lines, _NAMED, "refused: ")
