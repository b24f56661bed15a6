"""Keys of Cloud KMS: what a load leaves in BigQuery is encrypted with the key of the dataset."""

import pytest
from google.cloud import bigquery
from google.cloud.bigquery_datatransfer_v1 import EncryptionConfiguration

from polycopy_assets.errors import WarehouseError
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.transfer import Transfer
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets_tests.bench import WALLETS, Bench, expected
from polycopy_assets_tests.cloud.batches import Place, dataset_of, is_change
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_sql
from polycopy_assets_tests.fakes.bigquery import Double, Job
from polycopy_assets_tests.fakes.bigquery.model import Table
from polycopy_assets_tests.fakes.dts import CONFIG, transfer_service

KEY = "projects/k/locations/eu/keyRings/r/cryptoKeys/one"
OTHER = "projects/k/locations/eu/keyRings/r/cryptoKeys/other"


@pytest.fixture
def bench(place: Place) -> Bench:
    return place.bench(place.dataset())


def give(double: Double, bench: Bench, key: str | None) -> None:
    """The dataset has this default key from now on."""
    default = {"defaultEncryptionConfiguration": {"kmsKeyName": key}} if key else {}
    double.engine.defaults[PROJECT, dataset_of(bench)] = default


def watched(double: Double, bench: Bench) -> dict[str, set[str | None]]:
    """The keys that each table has at each change of `trades`; staging tables count as one."""
    keys: dict[str, set[str | None]] = {}

    def before(job: Job, sql: str) -> None:
        del job, sql
        tables: list[Table] = list(double.engine.tables.values())
        for table in tables:
            if table.name[1] == dataset_of(bench):
                name = table.name[2]
                kind = "staging" if name.startswith("polycopy_staging_") else name
                keys.setdefault(kind, set()).add(table.key)

    double.before = before
    return keys


def key_of(job: Job) -> str | None:
    """The key that a job names for what it writes."""
    named = job.configuration[job.kind].get("destinationEncryptionConfiguration")
    return named and named["kmsKeyName"]


def test_all_that_a_load_leaves_has_the_default_key_of_the_dataset(bench: Bench, double: Double):
    give(double, bench, KEY)
    keys = watched(double, bench)
    manifest = bench.batch(*WALLETS[:2])
    bench.load()
    bench.table.load(manifest, bench.store)
    with bench.warehouse.reader.ask("SELECT id FROM trades LIMIT 1") as answer:  # a person's
        assert list(answer.rows())
    assert keys == {"trades": {KEY}, "polycopy_batches": {KEY}, "staging": {KEY}}
    assert {key_of(job) for job in double.done("load")} == {KEY}
    reads = [job for job in double.done("query") if job.rows and not is_change(job)]
    assert len(reads) > 1
    assert {key_of(job) for job in reads} == {KEY}, "results lie in a table for a day"
    assert bench.ids() == expected(WALLETS[:2])


def test_a_dataset_that_gets_its_key_later_has_it_for_all_that_is_made_from_then_on(
    place: Place, bench: Bench, double: Double
):
    bench.batch(WALLETS[0])
    double.job_error(is_change, "invalid", "the process is killed here")
    with pytest.raises(WarehouseError, match="killed here"):
        bench.load()
    give(double, bench, KEY)
    again = place.bench(dataset_of(bench))
    keys = watched(double, again)
    again.load()
    assert keys == {"trades": {None}, "polycopy_batches": {None}, "staging": {KEY}}
    assert again.ids() == expected(WALLETS[:1])


def test_a_table_with_a_key_of_its_own_is_staged_with_that(bench: Bench, double: Double):
    bench.warehouse.check_writable()
    double.engine.tables[PROJECT, dataset_of(bench), "trades"].key = OTHER
    keys = watched(double, bench)
    bench.batch(WALLETS[0])
    bench.load()
    assert (keys["trades"], keys["staging"]) == ({OTHER}, {OTHER})


def test_a_key_that_bigquery_may_not_use_is_named_in_one_line(bench: Bench, double: Double):
    give(double, bench, KEY)
    double.engine.no_grant.add(KEY)
    bench.batch(WALLETS[0])
    for refused in (bench.warehouse.check_writable, bench.load):
        with pytest.raises(WarehouseError, match=f"service account .* access to {KEY}") as error:
            refused()
        assert "\n" not in str(error.value)
    double.engine.no_grant.clear()
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


def test_a_transfer_is_refused_unless_it_encrypts_with_the_key_of_the_dataset(
    place: Place, double: Double
):
    name, client = place.dataset(), place.client

    def load(params: dict[str, str], into: str) -> None:
        config = bigquery.LoadJobConfig(
            source_format=params["file_format"], write_disposition="WRITE_TRUNCATE"
        )
        config.destination_encryption_configuration = bigquery.EncryptionConfiguration(KEY)
        table = f"{PROJECT}.{into}.{params['destination_table_name_template']}"
        client.load_table_from_uri(params["data_path_template"], table, job_config=config).result()

    with transfer_service(name, load) as service:
        warehouse = BigQueryWarehouse(
            Dataset(client, PROJECT, name, max_bytes_billed=10**10, labels={}),
            loader=Transfer(service.client(), CONFIG, patience=3, poll=0.01),
        )
        bench = Bench(place.store(), warehouse, bigquery_sql(client, name))
        give(double, bench, KEY)
        bench.batch(WALLETS[0])
        told = f"encrypts with a key of Google, and should with {KEY}"
        with pytest.raises(WarehouseError, match=told) as error:
            bench.load()
        assert "\n" not in str(error.value)
        assert "StartManualTransferRuns" not in service.calls
        service.config.encryption_configuration = EncryptionConfiguration(kms_key_name=KEY)
        bench.load()
        assert bench.ids() == expected(WALLETS[:1])
