"""What the store really holds of a wallet: describes it, and sets aside what is damaged."""

import threading
from collections.abc import Iterable
from functools import cached_property

from polycopy_assets.batches.combine import unreadable
from polycopy_assets.errors import ObjectLost
from polycopy_assets.fetch.segment_reader import read_segment
from polycopy_assets.ledger.facts import Facts
from polycopy_assets.ledger.findings import lost_segments
from polycopy_assets.record.materializations import Record
from polycopy_assets.store.base import Store
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.store.reading import Readings
from polycopy_assets.trades.batch import Claim, Manifest
from polycopy_assets.trades.interval import Interval, disjoint
from polycopy_assets.trades.segment import Segment, StoredSegment, segment_name, wallet_prefix


class Shelf:
    """The store's segments; those that batches describe need not be read again."""

    def __init__(self, store: Store, manifests: Iterable[Manifest]) -> None:
        self._store = store
        self._manifests = manifests
        self._lock = threading.Lock()

    @cached_property
    def _claims(self) -> dict[tuple[str, int], Claim]:
        """The latest claim on each segment, by its name and the second from which it counts."""
        return {
            (item.segment, item.start): item
            for manifest in self._manifests
            for item in manifest.claims
        }

    @cached_property
    def _claimed_names(self) -> frozenset[str]:
        return frozenset(name for name, _ in self._claims)

    def segments(self, facts: Facts) -> tuple[tuple[Segment, ...], str]:
        """The segments that a record of the wallet names, oldest first.

        If one of them is damaged it is set aside, and the second item says so.
        """
        stored = {item.span: item for item in facts.stored}
        recorded = {(s.span, s.claim): s for s in (facts.record.segments if facts.record else ())}
        found: list[Segment] = []
        for span, counts in disjoint(stored, self._known(facts)):
            known = recorded.get((span, counts)) or self._claimed(facts.wallet, span, counts)
            if known is None or not stored[span].is_as_described(known):
                try:
                    known = read_segment(self._store, facts.wallet, span, counts)
                except ObjectLost as error:
                    set_aside(self._store, segment_name(facts.wallet, span))
                    return (), str(error)
            found.append(known)
        return tuple(found), ""

    def clear_lost(self, facts: Facts, latest: Record | None) -> str:
        """Checks a record without data again, and sets aside what is damaged.

        Returns what is lost; empty if the wallet was repaired since the facts were read.
        """
        if facts.record is None or (latest and latest.segments != facts.record.segments):
            return ""
        known = {item.span: item for item in facts.stored}
        there = []
        for item in self._store.list(wallet_prefix(facts.wallet)):
            found = StoredSegment.listed(*item)
            if found:
                seen = known.get(found[1].span)
                there.append(seen if seen and seen.size == item.size else found[1])
        lost = {**self._unreadable(facts), **lost_segments(facts.record, there)}
        for item in there:
            name = segment_name(facts.wallet, item.span)
            if name in lost:
                set_aside(self._store, name)
        return "; ".join(f"{name} {why}" for name, why in lost.items()) or facts.record.problem

    def _unreadable(self, facts: Facts) -> dict[str, str]:
        """The recorded segments that could not be read, and still cannot."""
        segments = facts.record.segments if facts.record else ()
        doubtful = [segment for segment in segments if segment.name in facts.unreadable]
        return dict(unreadable(Readings(self._store), doubtful))

    def _known(self, facts: Facts) -> set[Interval]:
        """The spans that the record or, without a record, any batch names: others are not ours."""
        if facts.record and not facts.record.problem:
            return {segment.span for segment in facts.record.segments}
        with self._lock:
            names = self._claimed_names
        return {s.span for s in facts.stored if segment_name(facts.wallet, s.span) in names}

    def _claimed(self, wallet: str, span: Interval, counts: Interval) -> Segment | None:
        """What the latest batch that holds a segment says about it."""
        name = segment_name(wallet, span)
        with self._lock:
            item = self._claims.get((name, counts.start))
        if item is None or item.until != counts.until:
            return None
        return Segment.of_claim(
            wallet,
            span,
            counts,
            rows=item.rows,
            size=item.size,
            crc32c=item.crc32c,
            first=item.first,
            last=item.last,
            source=item.source,
        )
