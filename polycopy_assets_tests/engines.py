"""The engine with a source and a record in memory."""

import gzip
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Event

from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.fetch.deadline import Deadline
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.pipeline.fetch import FetchPlan, fetch
from polycopy_assets.pipeline.ports import Committed, FetchPorts, FetchReport, Limits
from polycopy_assets.store.base import Store
from polycopy_assets.store.coverage import CoverageWriter
from polycopy_assets.trades.segment import Segment, data_version
from polycopy_assets_tests.fakes.memory import MemorySource
from polycopy_assets_tests.of_trades import Directory

WORLD = generate(72, 10, whales=1, whale_trades=200)
WALLETS = [wallet.lower() for wallet in WORLD.wallets()]
TRADES = {wallet: WORLD.truth(wallet) for wallet in WALLETS}


class Record:
    """What a run has recorded: the segments of each wallet, and all calls in their order.

    Each write is checked: the segments that it names have to be in the store by then.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.recorded: dict[str, Sequence[Segment]] = {}
        self.covered_until: dict[str, int] = {}
        self.calls: list[tuple[str, str]] = []
        self.batches: list[int] = []
        self.noticed = Event()
        self.error: Exception | None = None
        self._taken: list[Fetched] = []

    def segments(self, wallet: str) -> Sequence[Segment]:
        return self.recorded.get(wallet, ())

    def write(self, fetched: Fetched) -> None:
        if self.error:
            raise self.error
        for segment in fetched.segments:
            rows = gzip.decompress(self._store.read(segment.name)).splitlines()
            assert len(rows) == segment.rows, "recorded before it was durable"
        self._taken.append(fetched)

    def flush(self) -> None:
        taken, self._taken = self._taken, []
        self.batches.append(len(taken))
        for fetched in taken:
            self.recorded[fetched.wallet] = fetched.segments
            self.covered_until[fetched.wallet] = fetched.covered_until
            self.calls.append(("recorded", fetched.wallet))
        self.noticed.set()

    def write_failure(self, failure: Failed) -> None:
        self.calls.append(("failed", failure.wallet))

    def write_attempt(self, failure: Failed) -> None:
        self.calls.append(("attempt", failure.wallet))

    def note_refetch(self, wallet: str, *, full: bool) -> None:
        self.calls.append(("begun" if full else "marked", wallet))

    def end_refetch(self, wallet: str) -> None:
        self.calls.append(("ended", wallet))

    def show(self, progress: Progress) -> None:
        assert progress.done <= len([name for name, _ in self.calls if name == "recorded"])
        assert progress.done + progress.failed <= progress.wallets

    def end(self, report: FetchReport) -> None:
        assert report.ended_early
        self.calls.append(("stopped", f"{report.recorded} recorded"))

    # -- the same record, as combining and loading read it ---------------------------------------

    def versions(self, wallets: Collection[str] | None = None) -> Mapping[str, str]:
        return {
            wallet: data_version(segments)
            for wallet, segments in self.recorded.items()
            if wallets is None or wallet in wallets
        }

    def read(
        self, wallets: Collection[str] | None = None
    ) -> Iterator[tuple[str, Committed | PolycopyError]]:
        for wallet, version in self.versions(wallets).items():
            segments = self.recorded[wallet]
            yield wallet, Row(version, segments, self.covered_until[wallet])


class Row:
    """One wallet's record."""

    def __init__(self, version: str, segments: Sequence[Segment], covered_until: int) -> None:
        self.version = version
        self.segments = segments
        self.covered_until = covered_until


class Engine:
    """The engine with a source in memory, a store on disk, and a record in memory."""

    def __init__(self, path: Path) -> None:
        self.store = Directory(path / "store")
        self.record = Record(self.store)
        self.progress = Progress()
        self.checks = 0
        self.stopped: Exception | None = None
        self.deadline = Deadline()

    def check(self) -> None:
        self.checks += 1
        if self.stopped:
            raise self.stopped

    def fetch(
        self,
        source: MemorySource,
        targets: Sequence[str] = WALLETS,
        *,
        full: frozenset[str] = frozenset(),
    ) -> FetchReport:
        self.progress = Progress()
        return fetch(FetchPlan(targets=targets, full=full), self.ports(source))

    def ports(self, source: MemorySource) -> FetchPorts:
        return FetchPorts(
            open_source=source.opened,
            store=self.store,
            coverage=CoverageWriter(self.store, "test"),
            record=self.record,
            limits=Limits(concurrency=1),
            progress=self.progress,
            check=self.check,
            deadline=self.deadline,
        )
