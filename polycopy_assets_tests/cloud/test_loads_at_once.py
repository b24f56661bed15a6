"""Loads into BigQuery at the same time, kills, lost answers, and statements that fail."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress

import pytest

from polycopy_assets.errors import WarehouseError, WrongTable
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.identity import make_id
from polycopy_assets_tests.bench import END, WALLETS, Bench, expected, middle
from polycopy_assets_tests.cloud.batches import (
    OURS,
    THEIRS,
    Killed,
    Place,
    dataset_of,
    is_change,
    overlapping,
    until,
    warehouse,
)
from polycopy_assets_tests.fakes.bigquery import Double, Job, JobError

pytestmark = pytest.mark.exhaustive

Gate = tuple[threading.Event, threading.Event]


@pytest.fixture
def bench(place: Place) -> Bench:
    """A store with an id, and a dataset."""
    found = place.bench(place.dataset())
    make_id(found.store, OURS)
    return found


@pytest.mark.usefixtures("processes")
def test_of_two_stores_that_load_at_once_one_is_refused(
    place: Place, bench: Bench, held_open: Gate
):
    there, go = held_open
    bench.batch(*WALLETS[:2])
    other = place.bench(dataset_of(bench), "other")
    make_id(other.store, THEIRS)
    other.batch(*WALLETS[1:3])
    with ThreadPoolExecutor() as pool:
        first = pool.submit(bench.load)
        assert there.wait(20)
        second = pool.submit(other.load)
        until(lambda: any(job.error for job in place.double.jobs if is_change(job)))
        go.set()
        first.result(30)
        with pytest.raises(WrongTable):
            second.result(30)
    assert bench.ids() == expected(WALLETS[:2])
    assert bench.table.held().store == OURS


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("again", [0, 1, 2])
def test_a_reload_beside_a_load_loses_and_doubles_nothing(
    place: Place, bench: Bench, held_open: Gate, again: int
):
    there, go = held_open
    manifests = overlapping(bench)
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(bench.load)
        assert there.wait(20)
        beside = place.bench(dataset_of(bench))
        reload = pool.submit(beside.table.load, manifests[again], beside.store, OURS)
        if again:  # otherwise it waits for the same job
            until(lambda: any(job.error for job in place.double.jobs if is_change(job)))
        go.set()
        loading.result(30)
        # The same batch has the same staging table, which may be gone already: an error, no loss.
        with suppress(WarehouseError) if not again else nullcontext():
            reload.result(30)
    bench.load()
    assert bench.table.loaded_batches() == {1, 2, 3}
    assert bench.ids() == expected(WALLETS[:2])
    assert bench.table.duplicates(5).found == []


@pytest.mark.usefixtures("processes")
def test_a_transaction_that_begins_late_replaces_what_was_loaded_since_its_rows_were_counted(
    place: Place, bench: Bench
):
    """When they were counted, there was nothing to replace: a plain INSERT would double them."""
    first, second, third = overlapping(bench)
    held = place.double.hold(lambda job: is_change(job) and "_00000003_" in job.id)
    with ThreadPoolExecutor() as pool:
        late = pool.submit(bench.table.load, third, bench.store, OURS)
        until(lambda: any(is_change(job) for job in place.double.jobs))
        beside = place.bench(dataset_of(bench))
        for manifest in (first, second):
            beside.table.load(manifest, beside.store, OURS)
        held.set()
        assert late.result(30).deleted > 0
    assert bench.table.loaded_batches() == {1, 2, 3}
    assert bench.ids() == expected(WALLETS[:2])


@pytest.mark.usefixtures("processes")
def test_a_transaction_that_begins_after_another_store_has_loaded_is_refused(
    place: Place, bench: Bench
):
    bench.batch(*WALLETS[:2])
    begun: list[str] = []

    def is_first_change(job: Job) -> bool:
        if is_change(job):
            begun.append(job.id)
        return job.id in begun[:1]

    held = place.double.hold(is_first_change)
    with ThreadPoolExecutor() as pool:
        late = pool.submit(bench.load)
        until(lambda: bool(begun))
        other = place.bench(dataset_of(bench), "other")
        make_id(other.store, THEIRS)
        other.batch(*WALLETS[1:3])
        other.load()
        held.set()
        with pytest.raises(WrongTable):
            late.result(30)
    assert other.ids() == expected(WALLETS[1:3])
    assert other.table.held().store == THEIRS


@pytest.mark.parametrize("how", ["before", "after", "lost"])
def test_a_load_that_ends_at_any_request_is_made_good_by_the_next_one(
    place: Place, bench: Bench, how: str
):
    bench.fetch(WALLETS[0], 0, middle(WALLETS[0]))
    bench.combine()
    bench.fetch(WALLETS[0], middle(WALLETS[0]), END)
    bench.combine(WALLETS[0])  # replaces what the first batch claims
    number = ended = 0
    while True:
        name = place.dataset()
        doomed, session = place.doomed(name, number, how)
        try:
            doomed.load()
        except (Killed, WarehouseError):
            ended += 1
        later = place.bench(name)
        later.load()
        assert later.ids() == expected(WALLETS[:1]), f"request {number}"
        assert later.table.loaded_batches() == {1, 2}
        assert later.load() == []
        if session.left >= 0:
            break
        number += 1
    assert number > 30
    assert (ended > 0) == (how != "lost"), "an answer that is lost is asked for again"


@pytest.mark.parametrize("statement", ["UPDATE", "INSERT", "MERGE", "DELETE", "COMMIT"])
def test_a_transaction_that_fails_changes_nothing(bench: Bench, double: Double, statement: str):
    overlapping(bench)
    broken: list[str] = []

    def before(job: Job, sql: str) -> None:
        if sql.startswith(statement) and not broken:
            broken.append(job.id)
            raise JobError("invalidQuery", "it fails here")

    double.before = before
    with pytest.raises(WarehouseError, match="it fails here"):
        bench.load()
    loaded = bench.table.held().batches
    assert bench.table.count_rows() == sum(count or 0 for count in loaded.values())
    assert broken
    bench.load()
    assert bench.ids() == expected(WALLETS[:2])
    assert bench.table.loaded_batches() == {1, 2, 3}


def test_a_cap_that_ends_a_transaction_leaves_nothing_of_it(place: Place, bench: Bench):
    manifest = bench.batch(WALLETS[0])
    tight = warehouse(place.client, dataset_of(bench), cap=25 * 2**20).table(TRADES)
    with pytest.raises(WarehouseError, match="POLYCOPY_MAX_BYTES_BILLED"):
        tight.load(manifest, bench.store, OURS)
    assert bench.table.count_rows() == 0
    assert bench.table.loaded_batches() == set()
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])
