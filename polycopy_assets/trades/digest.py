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


def of_text(text: str) -> int:
    """The digest that stands for a segment whose trades were never hashed; see `Segment.digest`."""
    return of_second(text.encode())


def total(digests: Iterable[int]) -> int:
    """The digest of all trades together."""
    return sum(digests) % _MODULUS


def as_text(digest: int) -> str:
    """Sixteen hex digits."""
    return f"{digest:016x}"
