"""What metadata and policies show is less than what is there: nothing is concluded from it."""

import itertools
from contextlib import nullcontext, suppress

import pytest

from polycopy_assets.errors import WarehouseError
from polycopy_assets_tests.bench import WALLETS, Bench, expected
from polycopy_assets_tests.cloud.batches import Killed, Place, dataset_of
from polycopy_assets_tests.cloud.google import PROJECT
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.bigquery.engine import Engine
from polycopy_assets_tests.fakes.bigquery.model import Job, Table


@pytest.fixture
def bench(place: Place) -> Bench:
    return place.bench(place.dataset())


def table(double: Double, bench: Bench, name: str) -> Table:
    """A table of the double."""
    return double.engine.tables[PROJECT, dataset_of(bench), name]


# -- row-level security ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["trades", "traders"])
def test_a_table_of_which_we_see_some_rows_only_is_refused_at_the_start(
    bench: Bench, double: Double, name: str
):
    bench.warehouse.check_writable()
    table(double, bench, name).shown = "wallet_address < '0x5'"
    queries = len(double.done("query"))
    told = rf"not all rows of table {name} in bigquery://\S+ can be read.*FILTER USING \(TRUE\)"
    with pytest.raises(WarehouseError, match=told) as error:
        bench.warehouse.check_writable()
    assert "\n" not in str(error.value)
    assert len(double.done("query")) == queries, "it costs nothing"
    table(double, bench, name).shown = None  # the filter TRUE
    bench.warehouse.check_writable()


@pytest.mark.parametrize("how", ["before", "after", "lost"])
def test_a_start_that_ends_at_any_request_is_made_good_by_the_next_one(place: Place, how: str):
    for number in itertools.count():
        name = place.dataset()
        doomed, session = place.doomed(name, number, how)
        with nullcontext() if how == "lost" else suppress(Killed):
            doomed.warehouse.check_writable()
        later = place.bench(name)
        later.warehouse.check_writable()
        assert later.table.held().batches == {}
        if session.left >= 0:
            assert number > 5
            return


def test_a_load_into_a_table_of_which_we_see_some_rows_only_changes_nothing(
    bench: Bench, double: Double
):
    manifest = bench.batch(*WALLETS[:2])
    bench.load()
    trades = table(double, bench, "trades")
    trades.shown = "FALSE"
    bench.batch(WALLETS[2])
    with pytest.raises(WarehouseError, match="access all rows"):
        bench.load()
    with pytest.raises(WarehouseError, match="access all rows"):
        bench.table.load(manifest, bench.store)  # it sees no rows to replace
    trades.shown = None
    assert bench.ids() == expected(WALLETS[:2])
    bench.load()
    assert bench.ids() == expected(WALLETS[:3])


# -- numRows that lags ----------------------------------------------------------------------------


def test_rows_that_metadata_does_not_know_of_yet_are_not_loaded_again(bench: Bench, double: Double):
    bench.batch(*WALLETS[:2])
    bench.load()
    table(double, bench, "trades").lagging = 0
    double.jobs.clear()
    assert bench.table.loaded_batches() == {1}
    assert bench.load() == []
    assert double.done("load") == []
    assert sum(job.bytes_billed for job in double.done("query")) == 0
    bench.batch(WALLETS[2])
    bench.load()
    assert bench.ids() == expected(WALLETS[:3])


def test_a_staged_batch_that_metadata_does_not_know_of_yet_is_not_broken(
    bench: Bench, double: Double, monkeypatch: pytest.MonkeyPatch
):
    load = Engine.load

    def lagging(self: Engine, job: Job) -> None:
        load(self, job)
        target = job.configuration["load"]["destinationTable"]
        self.tables[target["projectId"], target["datasetId"], target["tableId"]].lagging = 0

    monkeypatch.setattr(Engine, "load", lagging)
    bench.batch(*WALLETS[:2])
    bench.load()
    assert bench.ids() == expected(WALLETS[:2])
    assert len(double.done("load")) == 1


# -- locations ------------------------------------------------------------------------------------


def test_a_dataset_that_cannot_be_loaded_from_the_bucket_is_refused_at_the_start(
    place: Place, bench: Bench, double: Double
):
    bench.warehouse.check_writable(("EU", "multi-region"))
    bench.warehouse.check_writable(("EUROPE-WEST1", "region"))
    with pytest.raises(WarehouseError, match="is in EU, and the bucket in US-EAST1") as error:
        bench.warehouse.check_writable(("US-EAST1", "region"))
    assert "\n" not in str(error.value)
    double.engine.buckets[place.bucket] = "US-EAST1"
    bench.batch(WALLETS[0])
    with pytest.raises(WarehouseError, match="in different locations"):
        bench.load()
