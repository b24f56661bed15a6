"""Old manifests are summarized: fewer reads, the same answer, and never an answer that is wrong."""

import gzip
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from polycopy_assets.batches import manifests as module
from polycopy_assets.batches.manifests import (
    SUMMARY_EVERY,
    forget,
    read_batches,
    read_manifests,
    summarize,
)
from polycopy_assets.errors import ObjectKept
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.trades.batch import Claim, Manifest, Part, claimed_intervals
from polycopy_assets.trades.interval import Interval
from polycopy_assets_tests.fakes.counting import CountingStore
from polycopy_assets_tests.of_trades import (
    MANIFESTS,
    SCHEMA,
    SUMMARIES,
    holdings,
    manifest_name,
    segment_name,
)

LOG = logging.getLogger("summaries")
DAY = 86_400
START = 1_700_000_000


def wallet(number: int) -> str:
    return f"0x{number:040x}"


def commit(store: FeedStore, batch: int, wallets: int = 3, *, crc32c: str = "0" * 8) -> None:
    """Commits a batch in which each wallet has the trades of one more day.

    `crc32c` is the checksum of its part, which is not written.
    """
    claims = [claimed(number, batch) for number in range(wallets)]
    files = f"combined/parts/{batch:08d}/aa"
    rows = sum(item.rows for item in claims)
    store.create(
        manifest_name(batch),
        Manifest(
            batch=batch,
            rows=rows,
            parts=[Part(name=f"{files}/part-00000.parquet", rows=rows, size=9, crc32c=crc32c)],
            claims=claims,
            claims_part=Part(
                name=f"{files}/claims.parquet",
                rows=len(claimed_intervals(claims)),
                size=9,
                crc32c="0" * 8,
            ),
            schema=SCHEMA,
        ).encode(),
    )


def claimed(number: int, batch: int) -> Claim:
    span = Interval(START + batch * DAY, START + (batch + 1) * DAY)
    return Claim(
        segment=segment_name(wallet(number), span),
        wallet=wallet(number),
        start=span.start,
        until=span.until,
        rows=batch,
        size=100,
        crc32c=f"{batch:08x}",
        version=f"rows-{batch * (batch + 1) // 2}-{number:016x}",
        first=span.start + 5,
        last=span.until - 5,
        digest=f"{batch * 7919 + number:016x}" if batch % 2 else None,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CountingStore]:
    forget()
    yield CountingStore(tmp_path)
    forget()


def committed(store: FeedStore, last: int, first: int = 1) -> None:
    for batch in range(first, last + 1):
        commit(store, batch)


def summaries(store: FeedStore) -> list[str]:
    return [item.name for item in store.list(SUMMARIES)]


def afresh(store: CountingStore) -> module.Batches:
    """What a new process reads."""
    forget()
    store.reads.clear()
    return read_batches(store)


def is_right(found: module.Batches, store: FeedStore) -> None:
    """What was read is what the manifests say when all of them are read."""
    everything = holdings(read_manifests(store))
    assert dict(found.held) == dict(everything)
    assert [item.batch for item in found.sound] == [x.batch for x in read_manifests(store)]
    assert [item.rows for item in found.sound] == [x.rows for x in read_manifests(store)]


def test_with_a_summary_only_newer_manifests_are_read_and_the_answer_is_the_same(
    store: CountingStore,
):
    committed(store, 100)
    summarize(store, LOG)
    committed(store, 105, first=101)
    found = afresh(store)
    assert store.below(MANIFESTS) == dict.fromkeys(map(manifest_name, range(101, 106)), 1)
    assert sum(store.below(SUMMARIES).values()) == 1
    assert found.summarized == 100
    is_right(found, store)


def test_what_was_read_is_read_once_as_long_as_the_listing_is_the_same(store: CountingStore):
    committed(store, 3)
    afresh(store)
    for _ in range(4):
        read_batches(store)
        read_batches(CountingStore(store.root))
    assert store.below(MANIFESTS) == dict.fromkeys(map(manifest_name, range(1, 4)), 1)
    commit(store, 4)
    is_right(read_batches(store), store)
    store.delete(manifest_name(2))
    found = read_batches(store)
    assert [item.batch for item in found.sound] == [1, 3, 4]
    is_right(found, store)


def test_a_batch_that_is_added_does_not_change_what_was_read_before(store: CountingStore):
    committed(store, 2)
    before = afresh(store)
    rows = before.held.get(wallet(0)).rows
    commit(store, 3)
    assert read_batches(store).held.get(wallet(0)).rows == rows + 3
    assert before.held.get(wallet(0)).rows == rows


def test_a_summary_is_written_when_enough_batches_came_and_older_ones_go(store: CountingStore):
    committed(store, SUMMARY_EVERY - 1)
    summarize(store, LOG)
    assert summaries(store) == []
    commit(store, SUMMARY_EVERY)
    summarize(store, LOG)
    (first,) = summaries(store)
    commit(store, SUMMARY_EVERY + 1)
    summarize(store, LOG)
    assert summaries(store) == [first]
    committed(store, 2 * SUMMARY_EVERY, first=SUMMARY_EVERY + 2)
    forget()
    summarize(store, LOG)
    (second,) = summaries(store)
    assert second.startswith(f"{SUMMARIES}{2 * SUMMARY_EVERY:08d}-")
    is_right(afresh(store), store)


def test_an_old_summary_that_cannot_be_deleted_stays_and_the_newest_is_used(
    store: CountingStore, monkeypatch: pytest.MonkeyPatch
):
    committed(store, SUMMARY_EVERY)
    summarize(store, LOG)

    def kept(*_: object) -> None:
        raise ObjectKept("no permission")

    with monkeypatch.context() as patch:
        patch.setattr(CountingStore, "delete", kept)
        committed(store, 2 * SUMMARY_EVERY, first=SUMMARY_EVERY + 1)
        summarize(store, LOG)
    assert len(summaries(store)) == 2
    assert afresh(store).summarized == 2 * SUMMARY_EVERY
    # Without a manifest of the newer half the older summary counts.
    store.delete(manifest_name(2 * SUMMARY_EVERY - 3))
    found = afresh(store)
    assert found.summarized == SUMMARY_EVERY
    is_right(found, store)


@pytest.mark.parametrize("what", ["deleted", "another size", "one before it"])
def test_a_summary_of_other_manifests_is_not_used(store: CountingStore, what: str):
    committed(store, 40, first=2)
    summarize(store, LOG)
    if what == "one before it":
        commit(store, 1)
    else:
        store.delete(manifest_name(7))
    if what == "another size":
        commit(store, 7, wallets=2)
    found = afresh(store)
    assert found.summarized == 0
    is_right(found, store)


def flipped(data: bytes) -> bytes:
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


def of_other_wallets(data: bytes) -> bytes:
    first, *rest = gzip.decompress(data).splitlines(keepends=True)
    return gzip.compress(first + b"".join(rest[1:]))


def of_another_version(data: bytes) -> bytes:
    first, *rest = gzip.decompress(data).splitlines(keepends=True)
    head = msgspec.json.decode(first)
    head["format"] += 1
    return gzip.compress(msgspec.json.encode(head) + b"\n" + b"".join(rest))


def with_odd_tiles(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data).replace(b'"tiles":[[', b'"tiles":[[-'))


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        of_other_wallets,
        of_another_version,
        with_odd_tiles,
        lambda _: b"",
        lambda data: data[:-20],
        lambda data: b"{}" + data,
        lambda _: gzip.compress(b"null\n"),
    ],
    ids=["flipped", "a wallet less", "of another version", "odd", "empty", "cut", "more", "null"],
)
def test_a_damaged_summary_is_passed_over_and_written_again(
    store: CountingStore, damage: object, caplog: pytest.LogCaptureFixture
):
    committed(store, 40)
    summarize(store, LOG)
    (name,) = summaries(store)
    data = store.read(name)
    store.delete(name)
    store.create(name, damage(data))  # pyright: ignore[reportCallIssue] - any of the above
    with caplog.at_level("INFO"):
        found = afresh(store)
    assert found.summarized == 0
    assert name in caplog.text
    is_right(found, store)
    summarize(store, LOG)
    assert summaries(store) == [name]
    assert store.read(name) == data
    assert afresh(store).summarized == 40


def test_a_summary_that_cannot_be_written_stops_nothing(
    store: CountingStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    committed(store, 40)

    def full(*_: object) -> None:
        raise ObjectKept("the disk is full")

    monkeypatch.setattr(CountingStore, "create_from", full)
    summarize(store, LOG)
    assert "the disk is full" in caplog.text
    assert summaries(store) == []


def test_there_is_no_summary_while_a_batch_is_broken(store: CountingStore):
    committed(store, 40)
    store.create(manifest_name(41), b"{broken")
    summarize(store, LOG)
    assert summaries(store) == []


def test_reading_everything_finds_what_a_summary_hides(store: CountingStore):
    """On a disk the listing does not show that a manifest was written over with as many bytes."""
    committed(store, 40)
    summarize(store, LOG)
    data = store.read(manifest_name(3))
    store.delete(manifest_name(3))
    store.create(manifest_name(3), data.replace(b'"rows":3,', b'"rows":4,', 1))
    assert not afresh(store).broken
    found = read_batches(store, everything=True)
    assert [item.number for item in found.broken] == [3]


def test_a_summary_says_what_the_docs_say(store: CountingStore):
    committed(store, 33)
    summarize(store, LOG)
    (name,) = summaries(store)
    head, *lines = map(msgspec.json.decode, gzip.decompress(store.read(name)).splitlines())
    assert list(head) == [
        "format", "schema", "last", "manifests", "rows", "wallets", "batches", "others"
    ]  # fmt: skip
    assert (head["format"], head["schema"], head["last"], head["wallets"]) == (1, SCHEMA, 33, 3)
    assert name == f"{SUMMARIES}00000033-{head['manifests'][:16]}.jsonl.gz"
    assert head["rows"] == 3 * sum(range(1, 34))
    assert head["batches"][4] == [5, 15, SCHEMA]
    assert [line["wallet"] for line in lines] == [wallet(number) for number in range(3)]
    for line in lines:
        assert list(line) == ["wallet", "version", "batch", "tiles"]
        assert sum(tile[2] for tile in line["tiles"]) == sum(range(1, 34))


PEAK = """
import resource, sys
from pathlib import Path
from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.local import LocalStore
found = read_batches(FeedStore(LocalStore(Path(sys.argv[1])), TRADES))
print(len(found.sound), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_manifests(tmp_path: Path):
    peaks: list[int] = []
    for number in (20, 2_000):
        store = CountingStore(tmp_path / str(number))
        for batch in range(1, number + 1):
            commit(store, batch, wallets=40)
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(store.root)],
            capture_output=True,
            text=True,
            check=True,
        )
        count, peak = map(int, done.stdout.split())
        assert count == number
        peaks.append(peak)
    size = sum(item.size for item in store.list(MANIFESTS)) >> 10
    assert peaks[1] - peaks[0] < size // 2, (peaks, size)
