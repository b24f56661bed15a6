"""What is new: the recorded trades that no batch holds yet.

It follows from the record and the manifests alone, so it does not depend on when it is computed;
and from sums of trades, so it does not depend on how they are cut into segments.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from polycopy_assets.batches.manifests import Batches, Broken
from polycopy_assets.errors import StoreError
from polycopy_assets.trades.batch import Claim, Numbered, claim, empty_claim
from polycopy_assets.trades.batch_rules import FURTHEST, LAST_BATCH
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.segment import Segment
from polycopy_assets.trades.tiles import Lacked, empty_intervals, lacked


class InRecord(NamedTuple):
    """What a wallet's record says.

    There are no trades where its segments do not cover the time before `covered_until`.
    """

    wallet: str
    version: str
    segments: Sequence[Segment]
    covered_until: int


def pending(versions: Mapping[str, str], held: Holdings) -> list[str]:
    """The wallets whose recorded rows are not all in the batches."""
    return sorted(
        wallet for wallet, version in versions.items() if not held.get(wallet).holds(version)
    )


def new_claims(
    names: Names, records: Iterable[InRecord], held: Holdings, force: Collection[str] = ()
) -> list[Claim]:
    """The claims that make the batches hold what the records say, wallet by wallet.

    A wallet with a new version but nothing new is combined whole, and so are those in `force`.
    """
    claims: list[Claim] = []
    for record in records:
        new = _lacked(record, held)
        if record.wallet in force or not any(new):
            gaps = empty_intervals(record.segments, record.covered_until)
            new = Lacked(list(record.segments), gaps)
        claims += [claim(segment, record.version) for segment in new.segments]
        claims += [empty_claim(names, record.wallet, span, record.version) for span in new.empty]
    return sorted(claims, key=lambda item: (item.wallet, item.start))


def new_segments(record: InRecord, held: Holdings) -> list[Segment]:
    """The segments of a record that the batches lack."""
    return _lacked(record, held).segments


def forgotten(record: InRecord, held: Holdings) -> bool:
    """Whether a record has trades that no batch holds."""
    return any(segment.rows for segment in new_segments(record, held))


def combined_since(record: InRecord, number: int, held: Holdings) -> bool:
    """Whether batches after number `number` hold all trades of a record."""
    spans = [segment.claim for segment in record.segments if segment.rows]
    return not forgotten(record, held) and all(
        tile.batch > number
        for tile in held.get(record.wallet).tiles
        if any(span.start < tile.until and tile.start < span.until for span in spans)
    )


def last_named(broken: Iterable[Broken]) -> dict[str, int]:
    """The wallets that broken batches name, each with the number of the last one that does."""
    last: dict[str, int] = {}
    for item in broken:
        for each in item.claims:
            last[each.wallet] = max(last.get(each.wallet, 0), item.number)
    return last


def to_combine_again(records: Iterable[InRecord], batches: Batches) -> tuple[set[str], set[str]]:
    """(forgotten, named) wallets: with trades that no batch holds; named by a broken batch.

    The latter not if later batches hold all that is recorded: a broken batch that cannot be set
    aside is found every time, but combined only once.
    """
    gone: set[str] = set()
    named: set[str] = set()
    last = last_named(batches.broken)
    for record in records:
        if forgotten(record, batches.held):
            gone.add(record.wallet)
        number = last.get(record.wallet)
        if number is not None and not combined_since(record, number, batches.held):
            named.add(record.wallet)
    return gone, named


def next_batch(
    names: Names,
    batches: Sequence[Numbered],
    loaded: Collection[int],
    broken: Collection[Broken] = (),
) -> int:
    """The number of the next batch: after all existing batches and all that the table has seen.

    A number that the table holds would count as loaded, whatever the batch contains. The names of
    `broken` batches stay taken, even if their numbers are not trusted. Raises StoreError if no
    valid number is left.
    """
    sound = max((item.batch for item in batches), default=0)
    seen = [max(loaded, default=0), *(item.number for item in broken)]
    last = max([sound, *(number for number in seen if number < sound + FURTHEST)])
    taken = {item.name for item in broken}
    free = (n for n in range(last + 1, LAST_BATCH + 1) if names.manifest(n) not in taken)
    number = next(free, None)
    if number is None:
        raise StoreError(f"there is no number left for a batch after {last}")
    return number


def _lacked(record: InRecord, held: Holdings) -> Lacked:
    return lacked(record.segments, record.covered_until, held.get(record.wallet).tiles)
