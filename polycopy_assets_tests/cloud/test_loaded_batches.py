"""What counts as loaded on BigQuery: whatever people do, no row is missing, and none is doubled."""

import msgspec
import pytest

from polycopy_assets.errors import WarehouseError, WrongTable
from polycopy_assets.store.identity import make_id
from polycopy_assets.warehouse.bigquery.batches_table import (
    BATCHES_LABEL,
    EMPTY_LABEL,
    STORE_LABEL,
)
from polycopy_assets_tests.bench import WALLETS, Bench, expected
from polycopy_assets_tests.cloud.batches import OURS, THEIRS, Place, dataset_of, overlapping
from polycopy_assets_tests.of_trades import manifest_name


@pytest.fixture
def bench(place: Place) -> Bench:
    """A store with an id, and a dataset."""
    found = place.bench(place.dataset())
    make_id(found.store, OURS)
    return found


# -- two stores ---------------------------------------------------------------------------------


def test_a_second_store_is_refused_in_one_line(place: Place, bench: Bench):
    bench.batch(*WALLETS[:2])
    bench.load()
    other = place.bench(dataset_of(bench), "other")
    make_id(other.store, THEIRS)
    other.batch(*WALLETS[1:3])
    assert other.table.held().store == OURS
    with pytest.raises(WrongTable, match=f"{OURS}.*{THEIRS}.*--accept-table") as error:
        other.load()
    assert "\n" not in str(error.value)
    assert bench.ids() == expected(WALLETS[:2])
    other.table.forget_batches()  # `--accept-table`
    other.load()
    assert bench.ids() == expected(WALLETS[:3])
    with pytest.raises(WrongTable):
        bench.table.load(bench.batch(WALLETS[3]), bench.store, OURS)


# -- tables that people change ------------------------------------------------------------------


def test_a_table_restored_to_yesterday_is_loaded_again(bench: Bench):
    bench.batch(WALLETS[0])
    bench.load()
    bench.sql("CREATE TABLE {}yesterday AS SELECT * FROM {}trades")
    bench.batch(WALLETS[1])
    bench.batch(WALLETS[2])
    bench.load()
    bench.sql("DROP TABLE {}trades")
    bench.sql("CREATE TABLE {}trades AS SELECT * FROM {}yesterday")
    assert bench.table.held()[:2] == ({}, OURS)
    assert len(bench.load()) == 3
    assert bench.ids() == expected(WALLETS[:3])
    assert bench.load() == []


def test_a_load_that_was_under_way_does_not_hide_that_rows_are_lost(bench: Bench):
    manifests = [bench.batch(wallet) for wallet in WALLETS[:3]]
    bench.load()
    bench.sql("DELETE FROM {}trades WHERE wallet_address = @wallet", wallet=WALLETS[0])
    bench.table.load(manifests[2], bench.store, OURS)  # it was planned before that
    assert bench.table.loaded_batches() == {3}
    assert len(bench.load()) == 3
    assert bench.ids() == expected(WALLETS[:3])
    assert bench.table.loaded_batches() == {1, 2, 3}


def test_rows_lost_after_everything_was_loaded_again_are_noticed(bench: Bench):
    overlapping(bench)
    for wallet in (WALLETS[0], WALLETS[1]):
        bench.load()
        bench.sql("DELETE FROM {}trades WHERE wallet_address = @wallet", wallet=wallet)
        assert bench.table.loaded_batches() == set()
    bench.load()
    assert bench.ids() == expected(WALLETS[:2])
    assert bench.load() == []


def test_a_lost_table_is_loaded_again_although_its_first_batch_is_gone(bench: Bench):
    """It was combined again; its note made the table expect more rows than there are."""
    first, second = bench.batch(WALLETS[0]), bench.batch(WALLETS[1])
    bench.load()
    bench.sql("DROP TABLE {}trades")
    bench.store.delete(manifest_name(first.batch))
    assert bench.table.loaded_batches() == set()
    assert bench.load() == [(second.rows, 0)]
    assert bench.table.loaded_batches() == {2}
    assert bench.load() == []


def test_rows_of_others_may_come_and_go(bench: Bench):
    bench.warehouse.check_writable()
    bench.sql(
        "INSERT INTO {}trades (wallet_address, id, timestamp) VALUES"
        f" ('{WALLETS[0]}', 'old', TIMESTAMP '2023-01-01 00:00:00'), ('0xother', 'kept', NULL)"
    )
    manifest = bench.batch(WALLETS[0])
    assert bench.load() == [(manifest.rows, 1)]
    bench.sql("DELETE FROM {}trades WHERE id = 'kept'")
    assert bench.table.loaded_batches() == {1}
    bench.sql("DELETE FROM {}trades WHERE TRUE")
    assert bench.table.loaded_batches() == set()


def test_rows_that_a_reconciliation_deletes_are_not_missed(bench: Bench):
    bench.batch(*WALLETS[:2])
    bench.load()
    assert bench.table.delete_loaded(WALLETS[:1]) > 0
    assert bench.table.loaded_batches() == {1}
    assert bench.ids() == expected(WALLETS[1:2])


def test_a_table_of_batches_that_was_dropped_only_costs_a_load(bench: Bench):
    overlapping(bench)
    bench.load()
    bench.sql("DROP TABLE {}polycopy_batches")
    assert bench.table.held()[:2] == ({}, None)
    assert len(bench.load()) == 3
    assert bench.ids() == expected(WALLETS[:2])
    assert bench.load() == []


@pytest.mark.parametrize("statement", ["DELETE FROM {}polycopy_batches WHERE TRUE", "other"])
def test_a_table_of_batches_that_says_nothing_is_named(bench: Bench, statement: str):
    bench.batch(WALLETS[0])
    bench.load()
    if statement == "other":
        bench.sql("DROP TABLE {}polycopy_batches")
        statement = "CREATE TABLE {}polycopy_batches (batch STRING)"
    bench.sql(statement)
    for do in (bench.table.loaded_batches, bench.load):
        with pytest.raises(WarehouseError, match=r"polycopy_batches in bigquery://.*Drop that"):
            do()


COPIES = {
    "trades": "CREATE TABLE {}trades AS SELECT * FROM {other}.trades",
    "polycopy_batches": "CREATE TABLE {}polycopy_batches AS SELECT * FROM {other}.polycopy_batches",
}


@pytest.mark.parametrize("tables", [["trades"], ["trades", "polycopy_batches"]])
def test_a_table_that_was_copied_is_as_good_as_its_original(
    place: Place, bench: Bench, tables: list[str]
):
    manifests = overlapping(bench)
    bench.load()
    there = dataset_of(bench)
    copy = place.bench(place.dataset())
    for table in tables:
        copy.sql(COPIES[table], other=there)
    assert len(copy.load()) == (0 if len(tables) > 1 else len(manifests))
    assert copy.ids() == expected(WALLETS[:2])
    assert copy.table.loaded_batches() == {1, 2, 3}


# -- labels of earlier versions -----------------------------------------------------------------


def relabel(place: Place, bench: Bench, **labels: str) -> dict[str, str]:
    table = place.client.get_table(f"{dataset_of(bench)}.trades")
    if labels:
        table.labels = labels
        table = place.client.update_table(table, ["labels"])
    return dict(table.labels)


def test_the_labels_of_an_earlier_version_are_taken_over_once(place: Place, bench: Bench):
    bench.batch(WALLETS[0])
    bench.batch(WALLETS[1])
    bench.load()
    bench.sql("DROP TABLE {}polycopy_batches")
    relabel(place, bench, **{BATCHES_LABEL: "2", STORE_LABEL: OURS, "team": "x"})
    assert bench.table.held()[:2] == ({1: None, 2: None}, OURS)
    third = bench.batch(WALLETS[2])
    assert bench.load() == [(third.rows, 0)]
    assert relabel(place, bench) == {"team": "x"}
    assert bench.table.held()[:2] == ({1: None, 2: None, 3: third.rows}, OURS)
    assert bench.ids() == expected(WALLETS[:3])
    bench.sql("DELETE FROM {}trades WHERE TRUE")
    assert bench.table.loaded_batches() == set()


@pytest.mark.parametrize("emptied", [True, False])
def test_the_labels_of_a_table_that_is_empty(place: Place, bench: Bench, *, emptied: bool):
    manifest = bench.batch(WALLETS[0])
    bench.warehouse.check_writable()
    empty = {} if emptied else {EMPTY_LABEL: "1"}
    relabel(place, bench, **{BATCHES_LABEL: "1", STORE_LABEL: OURS, **empty})
    assert bench.table.loaded_batches() == (set() if emptied else {1})
    bench.table.take_over(THEIRS)
    assert relabel(place, bench) == {}
    assert bench.table.loaded_batches() == (set() if emptied else {1})
    bench.table.take_over(OURS)
    assert bench.load() == ([(manifest.rows, 0)] if emptied else [])


def test_what_an_earlier_version_loads_in_between_is_believed(place: Place, bench: Bench):
    overlapping(bench)
    bench.load()
    relabel(place, bench, **{BATCHES_LABEL: "1", STORE_LABEL: OURS})
    assert bench.table.loaded_batches() == {1}
    assert len(bench.load()) == 2
    assert relabel(place, bench) == {}
    assert bench.ids() == expected(WALLETS[:2])


# -- which batch a number stands for ------------------------------------------------------------


def test_a_number_that_stands_for_another_batch_now_is_loaded(bench: Bench):
    """The store was restored to an earlier state, and has given a number once more."""
    bench.batch(WALLETS[0])
    second = bench.batch(WALLETS[1])
    bench.load()
    for part in second.files:
        bench.store.delete(part.name)
    bench.store.delete(manifest_name(2))
    del bench.segments[WALLETS[1]]
    bench.batch(WALLETS[2])
    assert bench.table.loaded_batches() == {1, 2}
    assert len(bench.load()) == 1
    assert bench.load() == []
    assert bench.ids() == expected(WALLETS[:3])


def test_a_manifest_of_an_earlier_form_counts_as_loaded(bench: Bench):
    """Its digest is that of the object, not of what is made of it."""
    manifest = bench.batch(WALLETS[0])
    bench.store.delete(manifest_name(1))
    claims = [
        {k: v for k, v in msgspec.to_builtins(claim).items() if k != "digest"}
        for claim in manifest.claims
    ]
    older = {**msgspec.to_builtins(manifest), "claims": claims}
    bench.store.create(manifest_name(1), msgspec.json.encode(older))
    assert len(bench.load()) == 1
    assert bench.load() == []
