"""What the store really holds of a wallet: describes it, and sets aside what is damaged."""

from collections.abc import Iterable
from functools import cached_property

import msgspec

from polycopy_assets.batches.manifests import read_manifests
from polycopy_assets.batches.parts import unreadable
from polycopy_assets.errors import ObjectLost
from polycopy_assets.fetch.segment_reader import read_segment
from polycopy_assets.ledger.facts import Facts, Recorded, kept_until
from polycopy_assets.ledger.findings import lost_coverage, lost_segments
from polycopy_assets.record.materializations import Record
from polycopy_assets.store.coverage import Coverage, read_coverage
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.store.reading import Readings
from polycopy_assets.trades.batch import Claim
from polycopy_assets.trades.digest import as_text
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.interval import Interval, disjoint, subtract
from polycopy_assets.trades.segment import Segment, StoredSegment
from polycopy_assets.trades.tiles import digest_of


class Shelf:
    """The store's segments; those that batches describe need not be read again.

    `held` is what all batches hold.
    """

    def __init__(self, store: FeedStore, held: Holdings) -> None:
        self._store = store
        self._names = store.names
        self._held = held
        self._claims: dict[tuple[str, int], Claim] = {}
        self._claimed_names: frozenset[str] = frozenset()
        self._without_digest: dict[str, list[Interval]] = {}

    @cached_property
    def _coverage(self) -> Coverage:
        """What coverage objects state, read again after the facts."""
        return read_coverage(self._store)

    def look_up(self, wallets: Iterable[Facts]) -> None:
        """Looks up what the batches say about the stored segments of `wallets`.

        Reads all manifests, and keeps the latest claim on each of these segments, by its name and
        the second from which it counts; and where the batches hold trades without a digest.
        """
        every = list(wallets)
        name = self._names.segment
        names = {name(facts.wallet, s.span) for facts in every for s in facts.stored}
        if not names:
            return
        self._without_digest = {facts.wallet: [] for facts in every}
        for manifest in read_manifests(self._store):
            for item in manifest.claims:
                if item.segment in names:
                    self._claims[item.segment, item.start] = item
                if item.wallet in self._without_digest:
                    self._replace(item)
        self._claimed_names = frozenset(name for name, _ in self._claims)

    def _replace(self, claim: Claim) -> None:
        claimed = Interval(claim.start, claim.until)
        held = self._without_digest[claim.wallet]
        held = [part for span in held for part in subtract(span, [claimed])]
        if claim.rows and claim.digest is None:
            held.append(claimed)
        self._without_digest[claim.wallet] = held

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
                    known = self._as_combined(read_segment(self._store, facts.wallet, span, counts))
                except ObjectLost as error:
                    set_aside(self._store, self._names.segment(facts.wallet, span))
                    return (), str(error)
            found.append(known)
        return tuple(found), ""

    def clear_lost(self, facts: Facts, latest: Record | None) -> str:
        """Checks a record without data again, and sets aside what is damaged.

        Returns what is lost; empty if the wallet was repaired since the facts were read.
        """
        if facts.record is None or _differs(latest, facts.record):
            return ""
        known = {item.span: item for item in facts.stored}
        there = []
        for item in self._store.list(self._names.wallet(facts.wallet)):
            found = StoredSegment.listed(self._names, *item)
            if found:
                seen = known.get(found[1].span)
                there.append(seen if seen and seen.size == item.size else found[1])
        lost = {**self._unreadable(facts), **lost_segments(facts.record, there)}
        for item in there:
            name = self._names.segment(facts.wallet, item.span)
            if name in lost:
                set_aside(self._store, name)
        if lost:
            return "; ".join(f"{name} {why}" for name, why in lost.items())
        now = msgspec.structs.replace(facts, covered=self._coverage.of(facts.wallet))
        return lost_coverage(facts.record, kept_until(now), facts.rows) or facts.record.problem

    def _unreadable(self, facts: Facts) -> dict[str, str]:
        """The recorded segments that could not be read, and still cannot."""
        segments = facts.record.segments if facts.record else ()
        doubtful = [segment for segment in segments if segment.name in facts.unreadable]
        return dict(unreadable(Readings(self._store), doubtful, self._store.feed))

    def _known(self, facts: Facts) -> set[Interval]:
        """The spans that the record or, without a record, any batch names: others are not ours."""
        if facts.record and not facts.record.problem:
            return {segment.span for segment in facts.record.segments}
        names, name = self._claimed_names, self._names.segment
        return {s.span for s in facts.stored if name(facts.wallet, s.span) in names}

    def _as_combined(self, segment: Segment) -> Segment:
        """The segment with the digest under which its rows were combined.

        It may be the union of segments that were combined. If they had no digests, theirs differs
        from that of the rows, and the rebuilt record would have another data version. If all had
        digests, then other rows were combined wherever the digests differ.
        """
        span = segment.claim
        old = self._without_digest.get(segment.wallet, [])
        if not any(part.start < span.until and span.start < part.until for part in old):
            return segment
        tiles = [
            tile
            for tile in self._held.get(segment.wallet).tiles
            if tile.start < span.until and span.start < tile.until
        ]
        inside = all(span.start <= tile.start and tile.until <= span.until for tile in tiles)
        digest = digest_of(tiles)
        if not inside or digest is None or sum(tile.rows for tile in tiles) != segment.rows:
            return segment
        return msgspec.structs.replace(segment, digest=as_text(digest) if segment.rows else None)

    def _claimed(self, wallet: str, span: Interval, counts: Interval) -> Segment | None:
        """What the latest batch that holds a segment says about it."""
        name = self._names.segment(wallet, span)
        item = self._claims.get((name, counts.start))
        if item is None or item.until != counts.until:
            return None
        return Segment.of_claim(
            wallet,
            span,
            counts,
            folder=self._names.segments,
            rows=item.rows,
            size=item.size,
            crc32c=item.crc32c,
            first=item.first,
            last=item.last,
            source=item.source,
            digest=item.digest,
        )


def _differs(latest: Record | None, read: Recorded) -> bool:
    """Whether the wallet was recorded again since its record was read."""
    return latest is not None and (latest.segments, latest.covered_until) != (
        read.segments,
        read.covered_until,
    )
