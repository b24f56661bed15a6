"""Jobs that BigQuery took and cannot find: whatever they did, the load comes out right."""

import itertools
from collections.abc import Callable

import pytest

from polycopy_assets.errors import WarehouseError
from polycopy_assets_tests.bench import WALLETS, Bench, expected
from polycopy_assets_tests.cloud.batches import Place, dataset_of
from polycopy_assets_tests.cloud.google import PROJECT
from polycopy_assets_tests.fakes.bigquery import Double, Job


def nth(number: int) -> Callable[[Job], bool]:
    """Matches the job that starts after `number` others."""
    counted = itertools.count()
    return lambda job: next(counted) == number


def staging(double: Double, bench: Bench) -> list[str]:
    """The staging tables that are there."""
    name = dataset_of(bench)
    every = [table for *where, table in double.engine.tables if where == [PROJECT, name]]
    return [table for table in every if table.startswith("polycopy_staging_")]


@pytest.mark.parametrize(("ran", "answered"), [(True, True), (False, True), (True, False)])
def test_whichever_job_of_a_load_vanishes_the_table_ends_as_it_should(
    place: Place, double: Double, *, ran: bool, answered: bool
):
    made = place.bench(place.dataset())
    manifest = made.batch(*WALLETS[:2])
    for number in itertools.count():
        bench = place.bench(place.dataset())
        double.vanish(nth(number), ran=ran, answered=answered)
        assert bench.load() == [(manifest.rows, 0)]
        # Again, as after a kill: now it has rows to replace.
        assert bench.table.load(manifest, bench.store) == (manifest.rows, manifest.rows)
        assert bench.table.loaded_batches() == {1}
        vanished = not double.vanishing
        double.vanishing.clear()
        assert bench.ids() == expected(WALLETS[:2])
        assert staging(double, bench) == []
        if not vanished:
            assert number > 5, "create the notes, load, count, change, and most of them again"
            return


def test_if_every_job_vanishes_the_line_says_what_to_do_and_that_is_true(
    place: Place, double: Double
):
    bench = place.bench(place.dataset())
    bench.batch(WALLETS[0])
    for _ in range(9):
        double.vanish(lambda job: job.kind == "load", ran=False)
    told = r"took job polycopy_load_\S+_2 and cannot find it, nor 2 before it: .* Start this again"
    with pytest.raises(WarehouseError, match=told) as error:
        bench.load()
    assert "\n" not in str(error.value)
    assert len(double.done("load")) == 3, "it does not try for ever"
    assert bench.table.loaded_batches() == set()
    double.vanishing.clear()
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])
