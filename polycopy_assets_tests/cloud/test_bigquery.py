"""What the BigQuery warehouse asks for, and what it makes of what BigQuery answers."""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from google.cloud import bigquery

from polycopy_assets.batches.combine import combine
from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.errors import QuotaExceeded, WarehouseError
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.trades.batch_rules import FURTHEST, LAST_BATCH
from polycopy_assets.warehouse.bigquery import feed_table
from polycopy_assets.warehouse.bigquery import warehouse as bigquery_warehouse
from polycopy_assets.warehouse.bigquery.batches_table import BATCHES_LABEL
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.table import wanted_of, wrong_with
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets_tests.bench import END, WALLETS, WORLD, Bench, expected, middle
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client, bigquery_sql
from polycopy_assets_tests.fakes.bigquery import Double, Job
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.fakes.proxy import Fault, Proxy, proxy
from polycopy_assets_tests.of_trades import manifest_name, next_batch, of_trades

JOBS = r"/projects/proj/jobs\?"
LOAD, CHANGE = '"load"', "BEGIN TRANSACTION"
COUNT = r"^(?!.*dryRun).*MIN\(T\.timestamp\)"
ESTIMATE = "dryRun"


@pytest.fixture
def front(double: Double) -> Iterator[Proxy]:
    with proxy(double.url) as running:
        yield running


class Place:
    """A dataset and a bucket of one name, and warehouses on them."""

    def __init__(self, gcs: GCS, double: Double, url: str) -> None:
        self.name = f"d{uuid.uuid4().hex[:12]}"
        self.gcs, self.double, self.url = gcs, double, url
        gcs.client().create_bucket(self.name)
        double.create_dataset(PROJECT, self.name)

    def warehouse(self, **options: object) -> BigQueryWarehouse:
        settings = {
            "max_bytes_billed": 10**10,
            "labels": {"polycopy_asset": "trades", "polycopy_run": "r-1"},
            "patience": 4.0,
            "lost_after": 1.0,
            **options,
        }
        return BigQueryWarehouse(
            Dataset(
                bigquery_client(self.url),
                PROJECT,
                self.name,
                **settings,  # type: ignore[arg-type]
            )
        )

    def bench(self, **options: object) -> Bench:
        store = of_trades(GCSStore(self.gcs.client(), self.name, "p"))
        sql = bigquery_sql(bigquery_client(self.double.url), self.name)
        return Bench(store, self.warehouse(**options), sql)

    def tables(self) -> set[str]:
        client = bigquery_client(self.double.url)
        return {table.table_id for table in client.list_tables(self.name)}


@pytest.fixture
def place(gcs: GCS, double: Double, front: Proxy) -> Place:
    return Place(gcs, double, front.url)


@pytest.fixture
def bench(place: Place) -> Bench:
    return place.bench()


def changes(double: Double) -> list[Job]:
    """The transactions that put batches into the table."""
    return [job for job in double.done("query") if CHANGE in job.sql]


def is_change(job: Job) -> bool:
    return CHANGE in job.sql


def is_load(job: Job) -> bool:
    return job.kind == "load"


# -- layout and cost ----------------------------------------------------------------------------


def test_the_table_is_partitioned_by_month_and_clustered_by_wallet(bench: Bench, place: Place):
    bench.warehouse.check_writable()
    table = bigquery_client(place.double.url).get_table(f"{place.name}.trades")
    assert table.time_partitioning is not None
    assert (table.time_partitioning.type_, table.time_partitioning.field) == ("MONTH", "timestamp")
    assert table.clustering_fields == ["wallet_address"]
    assert [(field.name, field.field_type) for field in table.schema][:3] == [
        ("wallet_address", "STRING"),
        ("id", "STRING"),
        ("timestamp", "TIMESTAMP"),
    ]


def test_a_batch_is_one_load_job_and_one_transaction_and_the_staging_table_goes(
    bench: Bench, place: Place, double: Double
):
    held = double.hold(is_change)
    manifest = bench.batch(*WALLETS)
    loading = threading.Thread(target=bench.load)
    loading.start()
    _until(lambda: bool(changes(double)))
    (staging,) = [name for name in place.tables() if name.startswith("polycopy_staging_")]
    table = bigquery_client(double.url).get_table(f"{place.name}.{staging}")
    assert table.expires is not None
    assert timedelta(days=1) < table.expires - datetime.now(UTC) < timedelta(days=7)
    held.set()
    loading.join()
    assert place.tables() == {"trades", "polycopy_batches"}
    (load,) = double.done("load")
    assert len(load.configuration["load"]["sourceUris"]) == len(manifest.parts) + 1
    assert load.configuration["load"]["writeDisposition"] == "WRITE_TRUNCATE"
    assert len(changes(double)) == 1
    for wallet in WALLETS:
        assert not any(wallet in job.sql for job in double.jobs), "a statement for one wallet"
    assert bench.ids() == expected(WALLETS)


def test_every_job_is_labelled_and_every_query_is_capped_and_accounted(
    bench: Bench, double: Double
):
    bench.batch(WALLETS[0])
    bench.load()
    bench.warehouse.traders()
    bench.table.rows_by_wallet()
    bench.table.duplicates(3)
    for job in double.jobs:
        assert job.labels["polycopy_asset"] == "trades"
        assert job.labels["polycopy_run"] == "r-1"
        assert job.kind == "load" or job.maximum_bytes_billed == 10**10
    cost = bench.warehouse.cost
    assert cost is not None
    assert cost.load_jobs == 1
    assert cost.query_jobs == len(double.done("query"))
    assert cost.bytes_billed == sum(job.bytes_billed for job in double.jobs) > 0
    assert cost.slot_ms > 0


def test_a_query_above_the_cap_is_refused_and_says_which_setting(place: Place):
    bench = place.bench(max_bytes_billed=10 * 2**20)
    bench.batch(WALLETS[0])
    with pytest.raises(WarehouseError, match=r"POLYCOPY_MAX_BYTES_BILLED.*nothing was billed"):
        bench.load()
    assert bench.table.count_rows() == 0
    assert bench.table.loaded_batches() == set()


def test_what_is_loaded_is_told_without_a_query(bench: Bench, double: Double):
    bench.batch(WALLETS[0])
    bench.load()
    before = len(double.jobs)
    assert bench.table.loaded_batches() == {1}
    assert bench.load() == []
    bench.warehouse.check_writable()
    assert len(double.jobs) == before


def test_a_load_of_new_trades_reads_no_partition_that_it_does_not_change(
    bench: Bench, double: Double
):
    cut = middle(WALLETS[0])
    bench.fetch(WALLETS[0], 0, cut)
    bench.combine()
    bench.load()
    bench.fetch(WALLETS[0], cut, END)
    bench.combine()
    bench.load()
    assert not any("MERGE" in change.sql for change in changes(double))
    staged = [
        sum(
            116 + len(t.title) + len(t.slug) + len(t.tx_hash) * 2  # more than a row has
            for t in WORLD.truth(WALLETS[0])
            if low <= t.timestamp < high
        )
        for low, high in ((0, cut), (cut, END))
    ]
    for change, rows in zip(changes(double), staged, strict=True):
        assert change.bytes_processed < 4 * rows + 10_000
    first, second = (change.bytes_processed for change in changes(double))
    assert second < 2 * first, "the second batch was billed what the first one put there"


def test_the_check_for_duplicates_looks_as_far_back_as_its_allowance_goes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    bench.batch(WALLETS[0])
    bench.load()
    assert bench.table.duplicates(3).since is None
    monkeypatch.setattr(feed_table, "CHECK_BYTES", 10)
    since = bench.table.duplicates(3).since
    assert since is not None
    assert (since.day, since.hour) == (1, 0)
    assert timedelta(0) < datetime.now(UTC) - since < timedelta(days=366)


def test_a_column_of_another_type_is_named_and_nothing_is_touched(bench: Bench, place: Place):
    bench.sql("CREATE TABLE {}trades (wallet_address STRING, id STRING, timestamp STRING)")
    bench.batch(WALLETS[0])
    with pytest.raises(WarehouseError, match=r"column timestamp .* is STRING .* be TIMESTAMP"):
        bench.load()
    assert place.tables() == {"trades"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"mode": "REPEATED"}, "column price of table trades in {} is REPEATED and should be one"),
        ({"name": "title", "type": "STRING", "mode": "REQUIRED"}, "column title .* is REQUIRED"),
        (
            {"name": "mine", "type": "STRING", "mode": "REQUIRED"},
            "column mine .* is not one of ours",
        ),
        (
            {"name": "id", "type": "STRING", "maxLength": "9"},
            r"is STRING\(9\) and should be STRING",
        ),
        ({"name": "id", "type": "STRING", "collation": "und:ci"}, "column id .* has a collation"),
        (
            {"name": "Wallet_Address", "type": "STRING", "policyTags": {"names": ["t/1"]}},
            "column Wallet_Address .* has a policy tag and should have none",
        ),
    ],
)
def test_a_field_that_would_lose_or_refuse_something_is_named(change: dict[str, Any], told: str):
    field = {"name": "price", "type": "FLOAT", "mode": "NULLABLE", **change}
    table = bigquery.Table("p.d.trades", schema=[bigquery.SchemaField.from_api_repr(field)])
    assert re.search(told.format("there"), wrong_with(table, wanted_of(TRADES), "there"))


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"type": "VIEW"}, "trades in there is a VIEW and should be a TABLE"),
        ({"type": "EXTERNAL"}, "trades in there is an EXTERNAL and should be a TABLE"),
        ({"requirePartitionFilter": True}, "table trades in there requires a partition filter"),
        ({"defaultCollation": "und:ci"}, "table trades in there has a default collation"),
        ({"defaultCollation": ""}, "$"),
        ({"type": "TABLE"}, "$"),
    ],
)
def test_what_is_no_plain_table_is_named(properties: dict[str, object], told: str):
    reference = {"projectId": "p", "datasetId": "d", "tableId": "trades"}
    table = bigquery.Table.from_api_repr({"tableReference": reference, **properties})
    assert re.match(told, wrong_with(table, wanted_of(TRADES), "there"))


def test_a_look_at_a_table_of_other_types_says_so(bench: Bench):
    bench.sql("CREATE TABLE {}trades (wallet_address STRING, price STRING, timestamp TIMESTAMP)")
    with pytest.raises(WarehouseError, match=r"column price .* is STRING and should be FLOAT64"):
        bench.table.tally({})


def test_a_dataset_that_is_not_there_is_named(place: Place):
    nowhere = Dataset(
        bigquery_client(place.url), PROJECT, "nowhere", max_bytes_billed=10**10, labels={}
    )
    warehouse = BigQueryWarehouse(nowhere)
    with pytest.raises(WarehouseError, match=r"bigquery://proj/nowhere.*404.*Dataset"):
        warehouse.check_writable()
    with pytest.raises(WarehouseError, match="nowhere"):
        warehouse.table(TRADES).loaded_batches()


# -- jobs that are found again ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", 503])
@pytest.mark.parametrize("content", [LOAD, CHANGE, ESTIMATE, COUNT])
def test_a_start_whose_answer_is_lost_runs_its_job_once(
    bench: Bench, front: Proxy, double: Double, content: str, kind: int | str
):
    front.faults.append(Fault("POST", JOBS, kind, times=2, content=content, body=_error(503)))
    bench.batch(*WALLETS)
    bench.load()
    assert bench.ids() == expected(WALLETS)
    assert len(front.injected) == 2
    assert len(double.done("load")) == 1
    assert len(changes(double)) == 1


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("kind", ["reset_before", "reset_after", 503, 500])
def test_looks_and_metadata_that_fail_are_tried_again(
    bench: Bench, front: Proxy, method: str, kind: int | str
):
    front.faults.append(Fault(method, r"/bigquery/v2/", kind, times=2, body=_error(503)))
    bench.batch(*WALLETS)
    bench.load()
    assert bench.ids() == expected(WALLETS)
    assert bench.table.loaded_batches() == {1}
    assert front.injected


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("which", [is_load, is_change])
def test_a_loader_that_comes_after_a_killed_one_waits_for_its_job(
    place: Place, bench: Bench, double: Double, which: Callable[[Job], bool]
):
    held = double.hold(which)
    manifest = bench.batch(*WALLETS)
    with ThreadPoolExecutor() as pool:
        killed = pool.submit(bench.load)  # stands for a process that dies with its job under way
        _until(lambda: any(which(job) for job in double.jobs))
        later = place.bench()
        second = pool.submit(later.table.load, manifest, later.store)
        time.sleep(0.5)
        assert not second.done()
        assert sum(which(job) for job in double.jobs) == 1
        held.set()
        second.result(30)
        killed.result(30)
    assert bench.ids() == expected(WALLETS)
    assert later.table.loaded_batches() == {1}


def test_a_staging_table_that_was_left_with_other_rows_is_filled_anew(
    bench: Bench, place: Place, double: Double
):
    double.job_error(is_change, "invalidQuery", "not now")
    bench.batch(*WALLETS)
    with pytest.raises(WarehouseError, match="not now"):
        bench.load()
    (staging,) = [name for name in place.tables() if name.startswith("polycopy_staging_")]
    bench.sql(
        "DELETE FROM {table} WHERE wallet_address = @wallet", table=staging, wallet=WALLETS[0]
    )
    bench.load()
    assert bench.ids() == expected(WALLETS)
    assert [job.id[-2:] for job in double.done("load")] == ["_0", "_1"]
    assert place.tables() == {"trades", "polycopy_batches"}


def test_a_staging_table_that_expired_is_made_anew(bench: Bench, place: Place, double: Double):
    double.job_error(is_change, "invalidQuery", "not now")
    bench.batch(*WALLETS)
    with pytest.raises(WarehouseError, match="not now"):
        bench.load()
    (staging,) = [name for name in place.tables() if name.startswith("polycopy_staging_")]
    bench.sql("DROP TABLE {table}", table=staging)
    bench.load()
    assert bench.ids() == expected(WALLETS)


def test_two_loaders_at_once_end_in_the_same_table(place: Place, double: Double):
    first, second = place.bench(), place.bench()
    first.batch(*WALLETS[:2])
    first.batch(*WALLETS[2:])
    double.delay = 0.05
    with ThreadPoolExecutor() as pool:
        for loading in [pool.submit(each.load) for each in (first, second)]:
            loading.result()
    assert first.load() == []
    assert first.ids() == expected(WALLETS)
    assert first.table.loaded_batches() == {1, 2}


def test_a_job_that_failed_makes_room_for_the_next_id(bench: Bench, double: Double):
    double.job_error(is_load, "invalid", "Error while reading data")
    manifest = bench.batch(WALLETS[0])
    with pytest.raises(WarehouseError, match="Error while reading data"):
        bench.table.load(manifest, bench.store)
    assert bench.table.count_rows() == 0
    assert bench.load() == [(manifest.rows, 0)]
    first, second = (job.id for job in double.done("load"))
    assert (first[-2:], second[-2:]) == ("_0", "_1")
    assert first[:-2] == second[:-2]


UPDATES = "Your table exceeded quota for table update operations"
"""Seen as 403 `rateLimitExceeded` and as 400 `jobRateLimitExceeded`, in place of a job's result:
https://github.com/googleapis/python-bigquery/issues/1790 and 2400."""


@pytest.mark.parametrize("which", [is_load, is_change])
@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("backendError", "An error occurred, try again"),
        ("rateLimitExceeded", f"Exceeded rate limits: {UPDATES}"),
        ("jobRateLimitExceeded", f"Job exceeded rate limits: {UPDATES}"),
    ],
)
def test_a_job_that_failed_for_a_passing_reason_is_started_again_but_not_for_ever(
    bench: Bench, double: Double, which: Callable[[Job], bool], reason: str, words: str
):
    double.job_error(which, reason, words)
    bench.batch(WALLETS[0])
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])
    for _ in range(9):
        double.job_error(which, reason, words)
    bench.batch(WALLETS[1])
    with pytest.raises(WarehouseError, match="try again"):
        bench.load()
    assert bench.ids() == expected(WALLETS[:1])


def test_a_job_that_is_lost_for_a_while_is_found_again(bench: Bench, double: Double):
    double.lose_looks(3)
    bench.batch(WALLETS[0])
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])
    assert len(double.done("load")) == 1


def test_a_job_that_stays_lost_is_done_again_and_nothing_is_assumed(bench: Bench, double: Double):
    held = double.hold(is_load)
    bench.batch(WALLETS[0])
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(bench.load)
        _until(lambda: bool(double.done("load")))
        double.forget(double.done("load")[0].id)
        _until(lambda: len(double.done("load")) == 2)
        held.set()  # both do their work, at the same time
        loading.result(60)
    assert bench.ids() == expected(WALLETS[:1])


def test_a_load_is_all_or_nothing(bench: Bench, gcs: GCS, place: Place):
    manifest = bench.batch(*WALLETS)
    assert manifest.claims_part is not None
    bucket = gcs.client().bucket(place.name)
    bucket.blob(f"p/{manifest.claims_part.name}").upload_from_string(b"no Parquet at all")
    with pytest.raises(WarehouseError, match="Error while reading data"):
        bench.table.load(manifest, bench.store)
    (staging,) = [name for name in place.tables() if name.startswith("polycopy_staging_")]
    assert bench.sql("SELECT COUNT(*) FROM {table}", table=staging) == [(0,)]
    bucket.blob(f"p/{manifest.parts[0].name}").delete()
    with pytest.raises(WarehouseError, match="Not found: URI"):
        bench.table.load(manifest, bench.store)


# -- quotas and limits --------------------------------------------------------------------------


def test_a_quota_that_is_used_up_says_which_and_when_to_come_back(bench: Bench, double: Double):
    double.engine.load_limit = 0
    bench.batch(WALLETS[0])
    with pytest.raises(QuotaExceeded) as error:
        bench.load()
    text = str(error.value)
    assert "1,500 load jobs per table per day" in text
    found = re.search(r"try again after (\d{4}-\d\d-\d\d \d\d:\d\d) UTC", text)
    assert found is not None
    back = datetime.fromisoformat(found[1]).replace(tzinfo=UTC)
    assert timedelta(hours=23) < back - datetime.now(UTC) <= timedelta(hours=24)
    assert "\n" not in text
    double.engine.load_limit = 1500
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


@pytest.mark.parametrize(
    ("reason", "words", "limit"),
    [
        ("quotaExceeded", "Custom quota exceeded: QuotaForBytesBilled", "bytes queried per day"),
        ("rateLimitExceeded", "Exceeded rate limits: too many concurrent queries", "concurrent"),
        ("quotaExceeded", "Quota exceeded: something quite new", "a quota of the project"),
    ],
)
def test_a_refusal_at_the_start_is_told_as_a_quota(
    bench: Bench, front: Proxy, reason: str, words: str, limit: str
):
    front.faults.append(
        Fault("POST", JOBS, 403, times=10**6, content=CHANGE, body=_error(403, reason, words))
    )
    bench.batch(WALLETS[0])
    with pytest.raises(QuotaExceeded, match=limit):
        bench.load()
    assert bench.table.loaded_batches() == set()
    front.faults.clear()
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


def test_a_process_changes_the_table_by_one_transaction_at_a_time(place: Place, double: Double):
    benches = [place.bench() for _ in range(2)]
    manifests = [benches[0].batch(wallet) for wallet in WALLETS[:2]]
    held = double.hold(is_change)
    with ThreadPoolExecutor() as pool:
        loading = [
            pool.submit(bench.table.load, manifest, bench.store)
            for bench, manifest in zip(benches, manifests, strict=True)
        ]
        _until(lambda: len(changes(double)) == 1)
        time.sleep(0.5)
        assert len(changes(double)) == 1, "BigQuery would cancel one of them"
        held.set()
        for each in loading:
            each.result(60)
    assert len(changes(double)) == 2
    assert benches[0].ids() == expected(WALLETS[:2])


@pytest.mark.usefixtures("processes")
def test_a_transaction_that_bigquery_cancels_is_repeated(place: Place, double: Double):
    benches = [place.bench() for _ in range(2)]
    manifests = [benches[0].batch(wallet) for wallet in WALLETS[:2]]
    benches[0].table.take_over("s" * 32)
    together = threading.Barrier(2, timeout=20)
    waited: set[str] = set()

    def before(job: Job, sql: str) -> None:
        if sql.startswith("DELETE") and len(waited) < 1:
            waited.add(job.id)  # the first one stays open until the other one was cancelled
            together.wait()

    double.before = before
    with ThreadPoolExecutor() as pool:
        loading = [
            pool.submit(bench.table.load, manifest, bench.store)
            for bench, manifest in zip(benches, manifests, strict=True)
        ]
        _until(lambda: any(job.error is not None for job in changes(double)))
        together.wait()
        for each in loading:
            each.result(60)
    cancelled = [str(job.error) for job in changes(double) if job.error is not None]
    assert cancelled
    assert all("aborted due to concurrent update" in each for each in cancelled)
    benches[0].load()
    assert benches[0].table.loaded_batches() == {1, 2}
    assert benches[0].ids() == expected(WALLETS[:2])


def test_a_batch_that_is_loaded_again_has_the_later_ones_loaded_again(bench: Bench, place: Place):
    manifests = [bench.batch(wallet) for wallet in WALLETS[:2]]
    bench.load()
    place.warehouse().table(TRADES).load(manifests[0], bench.store)
    assert bench.table.loaded_batches() == {1}
    bench.load()
    assert bench.table.loaded_batches() == {1, 2}
    assert bench.ids() == expected(WALLETS[:2])


def test_a_label_that_is_no_number_is_named(bench: Bench, place: Place):
    bench.batch(WALLETS[0])
    bench.load()
    client = bigquery_client(place.double.url)
    table = client.get_table(f"{place.name}.trades")
    table.labels = {BATCHES_LABEL: "many"}
    client.update_table(table, ["labels"])
    with pytest.raises(WarehouseError, match="'many'"):
        bench.table.loaded_batches()


def test_a_number_that_nobody_has_come_to_yet_is_not_believed(bench: Bench, place: Place):
    bench.batch(WALLETS[0])
    bench.load()
    client = bigquery_client(place.double.url)
    table = client.get_table(f"{place.name}.trades")
    table.labels = {BATCHES_LABEL: "99999999"}
    client.update_table(table, ["labels"])
    assert bench.table.loaded_batches() == set()
    bench.load()
    assert bench.table.loaded_batches() == {1}
    assert bench.ids() == expected(WALLETS[:1])


def test_what_is_loaded_and_how_much_is_told_without_a_query(bench: Bench, double: Double):
    rows = bench.batch(*WALLETS[:2]).rows
    bench.load()
    before = len(double.done("query"))
    assert bench.table.held().batches.keys() == {1}
    assert bench.table.has_rows(rows)
    assert len(double.done("query")) == before


@pytest.mark.parametrize("number", [FURTHEST - 1, FURTHEST, LAST_BATCH])
@pytest.mark.parametrize(
    "fields",
    [{}, {"schema": 2}, {"claims": None}, {"schema": 1, "claims": None}, {"schema": 0}],
    ids=["nothing", "nothing of today", "claims", "claims of an older version", "no version"],
)
def test_a_stray_manifest_keeps_no_batch_out_of_the_table(
    bench: Bench, number: int, fields: dict[str, object]
):
    """No table was believed to have loaded the numbers that followed it."""
    first = bench.batch(WALLETS[0])
    bench.load()
    claims = msgspec.to_builtins(first.claims)
    empty = {"batch": number, "rows": 0, "parts": [], "claims": []}
    stray = {**empty, **fields} | ({"claims": claims} if "claims" in fields else {})
    bench.store.create(manifest_name(number), msgspec.json.encode(stray))
    for wallet in WALLETS[1:3]:
        bench.fetch(wallet)
        found = read_batches(bench.store)
        given = next_batch(found.sound, bench.table.loaded_batches(), found.broken)
        assert combine(bench.store, bench.claims(), given).manifest is not None
        bench.load()
        assert bench.load() == []
        assert given in bench.table.loaded_batches()
    assert bench.ids() == expected(WALLETS[:3])


def test_labels_of_others_stay_and_a_stale_write_is_done_again(
    bench: Bench, place: Place, front: Proxy
):
    bench.warehouse.check_writable()
    client = bigquery_client(place.double.url)
    table = client.get_table(f"{place.name}.trades")
    table.labels = {"team": "ours", BATCHES_LABEL: "0"}
    client.update_table(table, ["labels"])
    front.faults.append(Fault("PATCH", "/tables/trades", 412, times=2, body=_error(412)))
    bench.batch(WALLETS[0])
    bench.load()
    assert len(front.injected) == 2
    assert client.get_table(f"{place.name}.trades").labels == {"team": "ours"}


def test_many_new_traders_are_added_by_few_statements(
    bench: Bench, double: Double, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bigquery_warehouse, "_NEW_TRADERS", 400)
    wallets = [f"0x{number:040x}" for number in range(1000)]
    assert bench.warehouse.add_traders(wallets) == 1000
    assert bench.warehouse.add_traders([w.upper().replace("0X", "0x") for w in wallets]) == 0
    assert len(double.done("query")) == 6
    before = len(double.done("query"))
    assert sorted(map(str, bench.warehouse.traders())) == wallets
    (query,) = double.done("query")[before:]
    assert query.sql.split()[1] == "wallet_address", "other columns are not read"
    bench.warehouse.traders()
    assert double.done("query")[-1].cache_hit
    assert double.done("query")[-1].bytes_billed == 0


def _error(status: int, reason: str = "backendError", message: str = "injected") -> bytes:
    if reason == "backendError":
        reason = {403: "accessDenied", 412: "conditionNotMet"}.get(status, reason)
    shown = {"reason": reason, "message": message}
    return json.dumps({"error": {"code": status, "message": message, "errors": [shown]}}).encode()


def _until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _quietly(what: Callable[[], object]) -> None:
    try:
        what()
    except WarehouseError:
        return
