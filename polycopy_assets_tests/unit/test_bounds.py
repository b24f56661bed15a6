"""Settings, fetch loop, budget, store and table once more: bounds, and exactly at the bounds."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polycopy_assets.batches.combine import combine
from polycopy_assets.batches.plan import InRecord
from polycopy_assets.errors import ConfigurationError, ObjectLost, StoreError
from polycopy_assets.feeds.frame import Frame
from polycopy_assets.fetch.iterate_async import iterate_async
from polycopy_assets.settings import read_settings
from polycopy_assets.sources.budget import Budget, Window
from polycopy_assets_tests.bench import END, WALLETS, Bench, middle
from polycopy_assets_tests.of_trades import Directory, holdings, new_claims
from polycopy_assets_tests.unit.test_budget import Clock, arrivals, worst
from polycopy_assets_tests.unit.test_combine_and_load import bench

__all__ = ["bench"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POLYCOPY_CONCURRENCY", "0"),
        ("POLYCOPY_CONCURRENCY", "1001"),
        ("POLYCOPY_TIMEOUT", "600.1"),
        ("POLYCOPY_TIMEOUT", "0.05"),
        ("POLYCOPY_SEGMENT_BYTES", "0"),
    ],
)
def test_a_number_just_out_of_bounds_is_refused(name: str, value: str):
    with pytest.raises(ConfigurationError, match=f"^{name}="):
        read_settings({name: value})


@pytest.mark.parametrize(
    ("name", "value", "field", "read"),
    [
        ("POLYCOPY_CONCURRENCY", "1000", "concurrency", 1000),
        ("POLYCOPY_TIMEOUT", "600", "timeout", 600.0),
        ("POLYCOPY_SEGMENT_BYTES", "1", "segment_bytes", 1),
        ("POLYCOPY_STORE", "/s", "store", "/s"),
        ("POLYCOPY_WAREHOUSE", "/w", "warehouse", "/w"),
        ("POLYCOPY_RATE_LIMIT", "5/1", "rate_limit", "5/1"),
        ("DAGSTER_HOME", "/h", "home", "/h"),
    ],
)
def test_each_variable_is_read_and_an_empty_one_is_the_default(
    name: str, value: str, field: str, read: object
):
    assert getattr(read_settings({name: value}), field) == read
    assert read_settings({name: ""}) == read_settings({})


def test_dome_without_a_key_is_refused_in_one_line_that_names_the_variable():
    with pytest.raises(ConfigurationError, match=r"^DOME_API_KEY is not set") as error:
        read_settings({"POLYCOPY_SOURCE": "dome"})
    assert "\n" not in str(error.value)


def test_the_home_is_absolute_wherever_it_is_read():
    assert Path(read_settings({"DAGSTER_HOME": "here"}).home).is_absolute()


def test_the_loop_does_not_run_far_ahead_of_a_slow_consumer():
    made: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(200):
            made.append(number)
            yield number

    items = iterate_async(numbers, ahead=3)
    assert next(items) == 0
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        time.sleep(0.01)
        assert len(made) <= 1 + 3 + 2
    assert list(items) == list(range(1, 200))


windows = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from([0.5, 1.0, 3.0])).map(lambda w: Window(*w)),
    min_size=1,
    max_size=3,
)


@given(windows, st.integers(1, 30), st.sampled_from([0.0, 0.2, 4.0]), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_whatever_the_windows_none_of_them_is_exceeded(
    allowed: list[Window], requests: int, slowest: float, seed: int
):
    spans, _ = arrivals(allowed, requests, slowest, seed)
    assert len(spans) == requests
    for window in allowed:
        assert worst([start for start, _ in spans], window.seconds) <= window.requests
        assert worst([end for _, end in spans], window.seconds) <= window.requests


def test_a_shorter_hold_does_not_end_a_longer_one():
    clock = Clock()

    async def main() -> float:
        budget = Budget([Window(9, 1.0)], clock=clock, sleep=clock.sleep)
        budget.hold(7.0)
        budget.hold(1.0)

        async def one() -> None:
            async with budget.slot():
                pass

        await clock.run(asyncio.create_task(one()))
        return clock.now

    assert asyncio.run(main()) == 7.0


def test_a_directory_is_listed_where_its_name_with_a_slash_belongs(tmp_path: Path):
    store = Directory(tmp_path)
    names = ["t/a/x", "t/a-b", "t/a.b", "t/a0"]
    for name in names:
        store.create(name, b"")
    assert [item.name for item in store.list("t/")] == sorted(names)


def test_bytes_are_on_the_disk_before_the_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps: list[str] = []
    fsync, link = os.fsync, os.link
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append(_kind(fd)), fsync(fd))[1])
    monkeypatch.setattr(os, "link", lambda a, b: (steps.append("link"), link(a, b))[1])
    Directory(tmp_path).create("a", b"x")
    assert steps == ["file", "link", "directory"]


def _kind(handle: int) -> str:
    import stat

    return "directory" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"


def test_a_batch_that_is_loaded_again_is_recorded_once(bench: Bench):
    bench.fetch(WALLETS[0])
    manifest = bench.combine()
    assert manifest is not None
    bench.load()
    bench.table.load(manifest, bench.store)
    assert bench.sql("SELECT batch FROM polycopy_batches") == [(1,)]


def test_a_wallet_with_a_new_version_and_no_new_segment_is_combined_whole(bench: Bench):
    bench.fetch(WALLETS[0])
    first = bench.combine()
    assert first is not None
    segments = bench.segments[WALLETS[0]]
    record = InRecord(WALLETS[0], "rows-1-0000000000000000", segments, END)
    claims = new_claims([record], holdings([first]))
    assert [c.segment for c in claims] == [s.name for s in segments]


def test_a_segment_whose_claim_moved_is_new(bench: Bench):
    cut = middle(WALLETS[0])
    segment = bench.fetch(WALLETS[0], 0, END)
    first = bench.combine()
    assert first is not None
    moved = msgspec.structs.replace(segment, claim_start=cut)
    other = bench.fetch(WALLETS[1])
    records = [InRecord(WALLETS[0], "v", [moved], END), InRecord(WALLETS[1], "v", [other], END)]
    claims = new_claims(records, holdings([first]))
    assert [(c.wallet, c.start, c.until, c.rows) for c in claims] == sorted(
        [
            # What the segment no longer stands for is no trade any more.
            (WALLETS[0], 0, cut, 0),
            (WALLETS[0], cut, END, segment.rows),
            (WALLETS[1], 0, END, other.rows),
        ]
    )


def test_a_record_that_counts_other_rows_than_its_segment_has_is_lost(bench: Bench):
    segment = bench.fetch(WALLETS[0], rows=7)
    assert segment.rows == 7
    combined = combine(bench.store, bench.claims(), 1)
    assert combined.manifest is None
    assert "its record says 7" in str(combined.lost[WALLETS[0]])


def test_a_changed_segment_with_the_same_row_count_is_still_lost(bench: Bench):
    bench.fetch(WALLETS[0], crc32c="00000000")
    assert "checksum" in str(combine(bench.store, bench.claims(), 1).lost[WALLETS[0]])


def test_a_part_that_lacks_rows_is_not_committed(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    bench.fetch(WALLETS[0])
    whole = Frame.part_rows
    monkeypatch.setattr(Frame, "part_rows", lambda frame, rows: whole(frame, rows).head(1))
    with pytest.raises(StoreError, match="1 in its parts"):
        combine(bench.store, bench.claims(), 1)
    with pytest.raises(ObjectLost):
        bench.store.read("combined/manifests/00000001.json")
