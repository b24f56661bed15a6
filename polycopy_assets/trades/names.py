"""What a feed's objects are called in the store, and where they lie.

The name of an object says what it is, so these are a part of the format. Two feeds never share a
folder: then nothing that one of them lists, writes or deletes can be the other's.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from polycopy_assets.errors import no_number_left
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.wallet import parse_wallet

_WALLET = "(0x[0-9a-f]{40})"
_MARKER = "refetch.json"
_LAST_COVERAGE = 99_999_999


@dataclass(frozen=True, kw_only=True)
class Names:
    """The names of one feed's objects, below four folders of its own; each ends in `/`.

    `segments` has a folder for each wallet, `coverage` says where there are no rows, `combined` has
    the batches, and `snapshots` what the record said at the end of a command. `left_out` is the
    object that says which types of rows are not fetched; empty for a feed that has no types.
    """

    segments: str
    coverage: str
    combined: str
    snapshots: str
    left_out: str = ""

    @property
    def folders(self) -> tuple[str, str, str, str]:
        """All folders of the feed: every object below them is its own."""
        return self.segments, self.coverage, self.combined, self.snapshots

    # -- segments -------------------------------------------------------------------------------

    def wallet(self, wallet: str) -> str:
        """Where all segments of `wallet` lie."""
        return wallet_folder(self.segments, wallet)

    def segment(self, wallet: str, span: Interval) -> str:
        """`{segments}{wallet}/{from}-{until}.jsonl.gz`, ten digits each."""
        return segment_name(self.segments, wallet, span)

    def parse_segment(self, name: str) -> tuple[str, Interval] | None:
        """The wallet and interval in an object's name; None if it is not a segment's name."""
        found = self._segment.fullmatch(name)
        if not found:
            return None
        span = Interval(int(found[2]), int(found[3]))
        return (found[1], span) if span.start < span.until else None

    def marker(self, wallet: str) -> str:
        """Where the marker of a full refetch of `wallet` lies: see `fetch.refetch`."""
        return f"{self.wallet(wallet)}{_MARKER}"

    def parse_marker(self, name: str) -> str | None:
        """The wallet whose marker an object's name is; None if it is no marker's name."""
        found = self._marker.fullmatch(name)
        return found[1] if found else None

    # -- time without rows ----------------------------------------------------------------------

    def coverage_object(self, number: int, run_id: str, unique: str) -> str:
        """`{coverage}{number}-{run}-{unique}.jsonl.gz`: the eight first digits of the last two.

        Later statements have higher numbers. Raises StoreError if they are used up.
        """
        if number > _LAST_COVERAGE:
            raise no_number_left(self.coverage)
        return f"{self.coverage}{number:08d}-{run_id[:8]:0<8}-{unique[:8]}.jsonl.gz"

    def parse_coverage(self, name: str) -> tuple[int, str] | None:
        """The number in a coverage object's name and the first digits of the run's id.

        None if it is no such name.
        """
        found = self._coverage.fullmatch(name)
        return (int(found[1]), found[2]) if found else None

    # -- batches --------------------------------------------------------------------------------

    @property
    def manifests(self) -> str:
        """Where the manifests lie."""
        return f"{self.combined}manifests/"

    @property
    def summaries(self) -> str:
        """Where the summaries of manifests lie."""
        return f"{self.combined}summaries/"

    @property
    def parts(self) -> str:
        """Where the Parquet files of all batches lie."""
        return f"{self.combined}parts/"

    def batch(self, number: int) -> str:
        """Where the Parquet files of one batch lie."""
        return f"{self.parts}{number:08d}/"

    def manifest(self, batch: int) -> str:
        """`{combined}manifests/{batch}.json`, eight digits."""
        return f"{self.manifests}{batch:08d}.json"

    def parse_manifest(self, name: str) -> int | None:
        """The batch number in a manifest's name; None if it is not a manifest's name."""
        found = self._manifest.fullmatch(name)
        return int(found[1]) if found else None

    def summary(self, last: int, manifests: str) -> str:
        """`{combined}summaries/{last}-{manifests}.jsonl.gz`: eight and sixteen digits."""
        return f"{self.summaries}{last:08d}-{manifests[:16]}.jsonl.gz"

    def parse_summary(self, name: str) -> int | None:
        """The last batch's number in a summary's name; None if it is not a summary's name."""
        found = self._summary.fullmatch(name)
        return int(found[1]) if found else None

    # -- the record -----------------------------------------------------------------------------

    def snapshot(self, number: int, unique: str) -> str:
        """`{snapshots}{number}-{unique}.jsonl.gz`: eight digits each."""
        return f"{self.snapshots}{number:08d}-{unique[:8]}.jsonl.gz"

    def parse_snapshot(self, name: str) -> int | None:
        """The number in a snapshot's name; None if it is not a snapshot's name."""
        found = self._snapshot.fullmatch(name)
        return int(found[1]) if found else None

    # -- the patterns ---------------------------------------------------------------------------

    @cached_property
    def _segment(self) -> re.Pattern[str]:
        return _below(self.segments, rf"{_WALLET}/([0-9]{{10}})-([0-9]{{10}})\.jsonl\.gz")

    @cached_property
    def _marker(self) -> re.Pattern[str]:
        return _below(self.segments, rf"{_WALLET}/{re.escape(_MARKER)}")

    @cached_property
    def _coverage(self) -> re.Pattern[str]:
        return _below(self.coverage, r"([0-9]{8})-([0-9a-z]{8})-[0-9a-f]{8}\.jsonl\.gz")

    @cached_property
    def _manifest(self) -> re.Pattern[str]:
        return _below(self.manifests, r"([0-9]{8})\.json")

    @cached_property
    def _summary(self) -> re.Pattern[str]:
        return _below(self.summaries, r"([0-9]{8})-[0-9a-f]{16}\.jsonl\.gz")

    @cached_property
    def _snapshot(self) -> re.Pattern[str]:
        return _below(self.snapshots, r"([0-9]{8})-[0-9a-f]{8}\.jsonl\.gz")


def _below(folder: str, pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(folder) + pattern)


def wallet_folder(segments: str, wallet: str) -> str:
    """Where the segments of `wallet` lie, below the folder `segments`."""
    return f"{segments}{parse_wallet(wallet)}/"


def segment_name(segments: str, wallet: str, span: Interval) -> str:
    """The name of a segment below the folder `segments`."""
    return f"{wallet_folder(segments, wallet)}{span.start:010d}-{span.until:010d}.jsonl.gz"
