"""The rules for a manifest: its own number, its own files, claims that add up.

A store can be damaged, tidied or shared. A manifest decides what is deleted from the table, so an
inconsistent one is not acted on.
"""

import re
from collections.abc import Collection, Iterator

from polycopy_assets.text import counted
from polycopy_assets.trades.batch import Claim, Manifest, claimed_intervals
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.segment import LATEST
from polycopy_assets.trades.wallet import ADDRESS

LAST_BATCH = 1_000_000
"""The highest number of a batch: a load every quarter of an hour takes 28 years to get there."""

FURTHEST = 100_000
"""How much higher a batch's number may be than the one before it.

Without a bound one stray number would use up all numbers.
"""

_MOST_ROWS = 10**12
"""More rows than one segment can have: sums of rows stay below 2**64."""


def believed(loaded: Collection[int], last: int) -> Collection[int]:
    """The batch numbers that a table reports, if credible; `last` is the last in the store.

    None of them if one is far beyond `last`: then all batches are loaded again. The limit is half
    of that for a new number, because a new batch must never have a number that counts as loaded.
    """
    return loaded if max(loaded, default=0) <= last + FURTHEST // 2 else ()


_CHECKSUM = re.compile(r"[0-9a-f]{8}")
_DIGEST = re.compile(r"[0-9a-f]{16}")
_FILE = re.compile(r"[0-9a-z]+/[0-9a-z-]+\.parquet")


def problem(manifest: Manifest, number: int, names: Names, schema: int) -> str:
    """The first thing that is wrong with a manifest whose name has `number`; empty if nothing.

    `names` and `schema`, the version of the parts' columns, are those of its feed.
    """
    return next(_problems(manifest, number, names, schema), "")


def _problems(manifest: Manifest, number: int, names: Names, schema: int) -> Iterator[str]:
    if manifest.batch != number or number < 1:
        yield f"it says that it is batch {manifest.batch}"
    if manifest.schema < 1:
        yield f"its schema {manifest.schema} does not exist"
    if not manifest.claims:
        yield "it claims nothing"
    if manifest.schema != schema:
        return  # of an older version: only its number is used
    yield from _of_files(manifest, names)
    for claim in manifest.claims:
        for wrong in _of_claim(claim, names):
            yield f"its claim on {claim.segment!r}: {wrong}"
    yield from _of_sums(manifest)


def _of_files(manifest: Manifest, names: Names) -> Iterator[str]:
    own = names.batch(manifest.batch)
    files = [part.name for part in manifest.files]
    for part in manifest.files:
        if not part.name.startswith(own) or not _FILE.fullmatch(part.name[len(own) :]):
            yield f"its part {part.name!r} is not a file below {own}"
        if part.rows < 0 or part.size < 0 or not _CHECKSUM.fullmatch(part.crc32c):
            yield f"its part {part.name} has impossible rows, size or checksum"
    if len({*files}) < len(files) or len({name.rpartition("/")[0] for name in files}) > 1:
        yield "its parts are not different files of one folder"
    if manifest.claims_part is None:
        yield "it has no file of claims"


def _of_claim(claim: Claim, names: Names) -> Iterator[str]:
    if not ADDRESS.fullmatch(claim.wallet):
        yield f"not a wallet: {claim.wallet!r}"
    named = names.parse_segment(claim.segment)
    if named is None or named[0] != claim.wallet:
        yield f"not a segment of {claim.wallet}"
        return
    if not 0 <= claim.start < claim.until < LATEST:
        yield f"not an interval: {claim.start} to {claim.until}"
    if not named[1].start <= claim.start < claim.until <= named[1].until:
        yield "it reaches beyond the segment"
    if not 0 <= claim.rows <= _MOST_ROWS or claim.size < 0 or not _CHECKSUM.fullmatch(claim.crc32c):
        yield "its rows, size or checksum are impossible"
    if claim.digest is not None and not _DIGEST.fullmatch(claim.digest):
        yield f"not a digest: {claim.digest!r}"
    if not all(moment is None or 0 <= moment < LATEST for moment in (claim.first, claim.last)):
        yield f"not valid times: {claim.first} and {claim.last}"


def _of_sums(manifest: Manifest) -> Iterator[str]:
    in_parts = sum(part.rows for part in manifest.parts)
    in_claims = sum(claim.rows for claim in manifest.claims)
    if not manifest.rows == in_parts == in_claims:
        yield (
            f"{counted(manifest.rows, 'row')} in all, {in_parts:,} in its parts, {in_claims:,} in"
            " its claims"
        )
    intervals = len(claimed_intervals(manifest.claims))
    if manifest.claims_part and manifest.claims_part.rows != intervals:
        yield (
            f"{counted(manifest.claims_part.rows, 'row')} in its file of claims, and"
            f" {counted(intervals, 'interval')}"
        )
