"""Searches whole pages for long pieces of a secret, at the speed of `bytes.find`."""

from collections.abc import Iterable, Iterator

_DIFFERENT = 4
"""The fewest distinct characters in a piece: `000000000000` occurs in many numbers."""


class Pieces:
    """Every run of `length` characters of some texts; a shorter text as a whole.

    They are found by consecutive blocks of half that length: every piece contains a whole block. So
    a page is searched a few times, not once for every piece.
    """

    def __init__(self, texts: Iterable[str], length: int) -> None:
        self._blocks: dict[bytes, set[tuple[int, bytes]]] = {}
        for text in {each.lower().encode() for each in texts}:
            for block, before, piece in _split(text, min(length, len(text))):
                if len(set(piece)) >= _DIFFERENT:
                    self._blocks.setdefault(block, set()).add((before, piece))

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._blocks)

    def occur_in(self, text: bytes) -> bool:
        """Whether one of the pieces occurs in `text`, which is in lower case."""
        for block, pieces in self._blocks.items():
            at = text.find(block)
            while at >= 0:
                for before, piece in pieces:
                    if at >= before and text.startswith(piece, at - before):
                        return True
                at = text.find(block, at + 1)
        return False


def _split(text: bytes, length: int) -> Iterator[tuple[bytes, int, bytes]]:
    """(block, bytes of the piece before it, piece) for all pieces and the blocks within them."""
    size = (length + 1) // 2
    for first in range(len(text) - length + 1):
        start = -(-first // size) * size
        yield text[start : start + size], start - first, text[first : first + length]
