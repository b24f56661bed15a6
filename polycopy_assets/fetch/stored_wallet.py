"""What the store holds of one wallet: which segments count, and how new ones are written."""

from collections.abc import Callable, Iterable
from itertools import chain

import msgspec

from polycopy_assets.errors import ObjectDamaged, ObjectExists, ObjectLost
from polycopy_assets.fetch import refetch
from polycopy_assets.fetch.segment_reader import read_segment
from polycopy_assets.store.base import crc32c
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.quarantine import set_aside
from polycopy_assets.trades.coverage import NOTHING, Covered
from polycopy_assets.trades.cutter import Draft, free_second, in_two
from polycopy_assets.trades.horizon import Horizon, beyond
from polycopy_assets.trades.interval import BEGINNING, Interval, disjoint, leading
from polycopy_assets.trades.page import Row, Rows
from polycopy_assets.trades.payload import read_payload
from polycopy_assets.trades.segment import Segment

Refetching = Callable[[str, bool], None]
"""Called with a wallet whose segments are about to be marked for replacement, and whether all
are."""

KnownSegments = Callable[[str], Iterable[Segment]]
"""The segments that a wallet's record names, so that they need not be read again."""


class StoredWallet:
    """What the store holds of `wallet`, which is fetched from `source` up to `horizon`.

    `covered`, `full` and `resumed` are as for `one_wallet.WalletFetch`. `replaced` names the
    segments to be replaced, None if there are none; it is known once `spans_to_keep` was called, as
    are `old_bounds`, the seconds at which they begin or end, and `there_before`: what was stored
    before this fetch. `written` are the segments of this fetch,
    of `bytes_written` bytes, and `recorded` those that the record names.
    """

    def __init__(
        self,
        wallet: str,
        horizon: Horizon,
        *,
        source: str,
        store: FeedStore,
        known: KnownSegments,
        covered: Interval | None,
        full: bool,
        resumed: bool,
        refetching: Refetching,
    ) -> None:
        self.replaced: frozenset[str] | None = None
        self.old_bounds: frozenset[int] = frozenset()
        self.there_before: frozenset[str] = frozenset()
        self.written: list[Segment] = []
        self.recorded: tuple[Segment, ...] = ()
        self.bytes_written = 0
        self._wallet = wallet
        self._horizon = horizon
        self._source = source
        self._store = store
        self._names = store.names
        self._known = known
        self._covered = covered
        self._behind: Interval | None = None
        self._full = full
        self._resumed = resumed
        self._refetching = refetching

    @property
    def without_trades(self) -> list[Interval]:
        """The time behind the last segment, as far as it is known to have no trades."""
        return [span for span in (self._covered, self._behind) if span is not None]

    @property
    def statement(self) -> Covered | None:
        """What has to be made durable about that time; takes back what counts no more."""
        if self._behind is not None:
            return Covered(self._wallet, *self._behind, at=self._horizon.at)
        return Covered(self._wallet, *NOTHING) if self._again else None

    @property
    def _again(self) -> bool:
        """Whether what was known before is not believed."""
        return self._full or self._resumed or self.replaced is not None

    def write(self, draft: Draft) -> None:
        """Makes a finished segment durable; time without trades up to the horizon is only noted."""
        if self._covered is not None and draft.span.start == self._covered.until:
            # What lies before is known to have no trades: so the segment can cover it.
            span = Interval(self._covered.start, draft.span.until)
            draft = msgspec.structs.replace(draft, span=span)
        if not draft.rows and draft.span.until == self._horizon.until:
            self._behind = draft.span
            return
        name = self._names.segment(self._wallet, draft.span)
        if self.replaced and name in self.replaced:
            for part in self._in_two(name, draft):
                self.write(part)
            return
        try:
            self._store.create(
                name, draft.payload, {"rows": str(draft.rows), "source": self._source}
            )
        except ObjectExists:
            # Another run was first. Its segment counts, and is read like any existing segment.
            return
        self.bytes_written += len(draft.payload)
        self.written.append(
            Segment.of_draft(
                self._wallet,
                draft,
                self._source,
                crc32c(draft.payload),
                folder=self._names.segments,
            )
        )

    def to_request(self, missing: Iterable[Interval]) -> list[Interval]:
        """The `missing` intervals, each with seconds before it if it could not be stored otherwise.

        It could not if a segment that is to be replaced has its name, and it cannot be cut in two:
        a single second that an older version has left over, which cut where old segments end, or
        one between two horizons. What is requested twice counts once (`trades.interval.disjoint`).
        """
        return [self._longer(span) for span in missing]

    def _longer(self, span: Interval) -> Interval:
        replaced = self.replaced or frozenset()
        while (
            span.start > BEGINNING
            and self._names.segment(self._wallet, span) in replaced
            and free_second(span, self.old_bounds, span.start) is None
        ):
            span = Interval(span.start - 1, span.until)
        return span

    def _in_two(self, name: str, draft: Draft) -> list[Draft]:
        """`draft` cut in two, because its `name` is that of a segment that is to be replaced.

        So it may be if an interval is missing as a whole. Raises ObjectExists for a single second.
        """
        read = read_payload(
            draft.payload, self._wallet, draft.span, self._store.feed.shapes, self._source
        )
        raws = read.lines.removesuffix(b"\n").split(b"\n") if read.rows else []
        rows = Rows.of(
            Row(row.wallet, row.timestamp, row.tx_hash, raw)
            for row, raw in zip(read.rows, raws, strict=True)
        )
        parts = in_two(rows, draft.span, self._source, self.old_bounds)
        if not parts:
            raise ObjectExists(self._store.uri(name), "is to be replaced, and cannot be cut in two")
        return parts

    def spans_to_keep(self) -> list[Interval]:
        """The spans that need not be requested; starts or resumes a full refetch."""
        parse = self._names.parse_segment
        for name, what in self._store.left_out(self._names.wallet(self._wallet)):
            if parse(name):  # otherwise no segment could ever be written there
                raise ObjectDamaged(self._store.uri(name), f"is {what}, not a segment: remove it")
        names = self._stored_names()
        self.there_before = frozenset(names)
        named = {name: found[1] for name in names if (found := parse(name))}
        doubtful = [n for n, span in named.items() if beyond(span.until, self._horizon.until)]
        replaced = list(named) if self._full else doubtful
        marked = self._names.marker(self._wallet) in names
        if marked and self._full and not self._resumed:
            # The marker is from an earlier, smaller replacement: now every segment is to be
            # replaced.
            self._store.delete(self._names.marker(self._wallet))
            marked = False
        if marked:
            self.replaced = refetch.being_replaced(self._store, self._wallet)
        elif replaced or (self._full and self._covered is not None):
            # A wallet without segments may have time without trades, and what is about to be
            # written lies in it: if the fetch is killed, the two must not pass for the whole.
            self._refetching(self._wallet, self._full)
            self.replaced = refetch.begin(self._store, self._wallet, replaced)
        if self._again:
            self._covered = None  # it may be what was wrong
        if self.replaced is not None:
            spans = (found[1] for name in self.replaced if (found := parse(name)))
            self.old_bounds = frozenset(chain.from_iterable(spans))
        return self._counting(names)

    def _counting(self, names: Iterable[str]) -> list[Interval]:
        """The spans of the segments that count: all but those that are to be replaced."""
        ignored = (self.replaced or frozenset()) - {segment.name for segment in self.written}
        named = (self._names.parse_segment(name) for name in names if name not in ignored)
        return [found[1] for found in named if found]

    def _spans_of_store(self) -> list[Interval]:
        return self._counting(self._stored_names())

    def _stored_names(self) -> list[str]:
        return [item.name for item in self._store.list(self._names.wallet(self._wallet))]

    def segments(self) -> tuple[tuple[Segment, ...] | None, list[Interval]]:
        """All segments of the wallet that count, and their spans; reads those not described yet.

        A segment after a gap does not count yet: an earlier fetch that broke off has left it, and
        this one ends before it, because the source's horizon went back a little. None if a segment
        is damaged: it is set aside, and its interval must be requested again.
        """
        stored = self._spans_of_store()
        whole = leading([*stored, *self.without_trades])
        spans = [span for span in stored if span.start < whole]
        self.recorded = tuple(self._known(self._wallet))
        described = {(s.span, s.claim): s for s in (*self.recorded, *self.written)}
        counted = disjoint(spans, (segment.span for segment in self.recorded))
        segments = []
        for span, claim in counted:
            try:
                segments.append(
                    described.get((span, claim))
                    or read_segment(self._store, self._wallet, span, claim)
                )
            except ObjectLost:
                set_aside(self._store, self._names.segment(self._wallet, span))
                return None, [each for each in spans if each != span]
        return tuple(segments), spans
