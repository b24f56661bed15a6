"""A digest of trades that does not depend on how they are cut into segments.

It is the sum of one hash for each second that has trades, modulo 2**64. No segment splits a second,
so the digest of neighbouring segments is the sum of theirs, and the digest of their union. The
order within a second counts: the table's `sequence` comes from it.
"""

from collections.abc import Iterable
from hashlib import blake2b
from struct import unpack

_MODULUS = 2**64


def of_second(lines: bytes) -> int:
    """The digest of all trades of one second, one JSON object a line, each with its line break."""
    return int.from_bytes(blake2b(lines, digest_size=8).digest())


def of_seconds(seconds: Iterable[bytes | memoryview]) -> int:
    """The digest of all trades of several seconds, each as for `of_second`."""
    hashes = [blake2b(lines, digest_size=8).digest() for lines in seconds]
    return total(unpack(f">{len(hashes)}Q", b"".join(hashes)))


class Digest:
    """The digest of trades that are added one after another, those of one second never apart."""

    def __init__(self) -> None:
        self._ended = 0
        self._second: int | None = None
        self._hash = blake2b(digest_size=8)

    def add(self, second: int, line: bytes) -> None:
        """Adds a trade of `second`: one JSON object with its line break."""
        if second != self._second:
            self._ended = self.value
            self._second = second
            self._hash = blake2b(digest_size=8)
        self._hash.update(line)

    @property
    def value(self) -> int:
        """The digest of all trades that were added."""
        if self._second is None:
            return 0
        return total((self._ended, int.from_bytes(self._hash.digest())))


def of_text(text: str) -> int:
    """The digest that stands for a segment whose trades were never hashed; see `Segment.digest`."""
    return of_second(text.encode())


def total(digests: Iterable[int]) -> int:
    """The digest of all trades together."""
    return sum(digests) % _MODULUS


def as_text(digest: int) -> str:
    """Sixteen hex digits."""
    return f"{digest:016x}"
