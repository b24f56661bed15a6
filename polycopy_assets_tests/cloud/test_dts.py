"""Loading by Data Transfer Service: success is what the service says, and nothing else."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta

import grpc
import pytest
from google.cloud import bigquery

from polycopy_assets.errors import QuotaExceeded, WarehouseError
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.transfer import Transfer
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets_tests.bench import WALLETS, Bench, expected
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client, bigquery_sql
from polycopy_assets_tests.fakes.dts import CONFIG, DTS, STATES, transfer_service
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.of_trades import of_trades


@pytest.fixture
def dataset(files: GCS, emulator: str) -> str:
    name = f"d{uuid.uuid4().hex[:12]}"
    bigquery_client(emulator).create_dataset(name)
    files.client().create_bucket(name)
    return name


@pytest.fixture
def service(dataset: str, emulator: str) -> Iterator[DTS]:
    client = bigquery_client(emulator)

    def load(params: dict[str, str], into: str) -> None:
        client.load_table_from_uri(
            params["data_path_template"],
            f"{PROJECT}.{into}.{params['destination_table_name_template']}",
            job_config=bigquery.LoadJobConfig(
                source_format=params["file_format"], write_disposition="WRITE_TRUNCATE"
            ),
        ).result()

    with transfer_service(dataset, load) as running:
        yield running


@pytest.fixture
def bench(dataset: str, files: GCS, emulator: str, service: DTS) -> Bench:
    client = bigquery_client(emulator)
    warehouse = BigQueryWarehouse(
        Dataset(client, PROJECT, dataset, max_bytes_billed=10**10, labels={}),
        loader=Transfer(service.client(), CONFIG, patience=3, poll=0.01),
    )
    return Bench(
        of_trades(GCSStore(files.client(), dataset)), warehouse, bigquery_sql(client, dataset)
    )


def test_a_batch_is_loaded_by_a_manual_run_and_awaited_however_long_it_takes(
    bench: Bench, service: DTS
):
    service.polls = 40
    manifest = bench.batch(*WALLETS[:2])
    assert bench.load() == [(manifest.rows, 0)]
    assert bench.ids() == expected(WALLETS[:2])
    assert service.calls.count("StartManualTransferRuns") == 1
    assert service.calls.count("GetTransferRun") == 40
    assert dict(service.config.params)["write_disposition"] == "MIRROR"
    assert dict(service.config.params)["max_bad_records"] == "0", "other parameters stay"
    assert bench.warehouse.cost is not None
    assert bench.warehouse.cost.load_jobs == 0
    bench.batch(WALLETS[2])
    bench.load()
    assert bench.ids() == expected(WALLETS[:3])


def test_the_time_of_a_run_is_past_even_if_googles_clock_is_behind_ours(bench: Bench, service: DTS):
    bench.batch(WALLETS[0])
    service.clock_behind = timedelta(minutes=2)
    with pytest.raises(WarehouseError, match=r"cannot start a run.*must be in the past"):
        bench.load()
    service.clock_behind = timedelta(seconds=50)
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


OPENED = """
import sys
from polycopy_assets.resources.google import DatasetResource
from polycopy_assets.resources.google import EmulatedBigQueryResource as Emulated
DatasetResource(
    url="bigquery://proj/d",
    bigquery=Emulated(project="proj", emulator="http://127.0.0.1:1"),
    load_via=sys.argv[1],
    dts_config="projects/p/locations/l/transferConfigs/1",
).open("trades")
"""
CLIENT = "bigquery_datatransfer"


@pytest.mark.parametrize("load_via", ["job", "dts"])
def test_whoever_does_not_load_by_transfers_never_imports_their_client(load_via: str):
    ending = f"print(*(name for name in sys.modules if {CLIENT!r} in name))"
    done = subprocess.run(
        [sys.executable, "-c", OPENED + ending, load_via],
        env={"NO_GCE_CHECK": "true", "GOOGLE_CLOUD_PROJECT": "proj", "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if load_via == "job":
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == []
    else:  # asked for, it is: and there are no credentials here
        assert "cannot use bigquery://proj/d: Your default credentials" in done.stderr


@pytest.mark.parametrize("state", [STATES.FAILED, STATES.CANCELLED])
def test_a_run_that_failed_or_was_cancelled_is_that_and_the_next_try_loads(
    bench: Bench, service: DTS, state: int
):
    service.endings.append((state, "because of this"))
    bench.batch(WALLETS[0])
    with pytest.raises(WarehouseError, match=rf"{STATES(state).name}.*because of this"):
        bench.load()
    assert bench.table.loaded_batches() == set()
    assert bench.table.count_rows() == 0
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


def test_a_quota_is_named_with_the_time_to_come_back(bench: Bench, service: DTS):
    words = "Quota exceeded: Your table exceeded quota for imports or query appends per table."
    service.endings.append((STATES.FAILED, words))
    bench.batch(WALLETS[0])
    with pytest.raises(QuotaExceeded, match=r"1,500 load jobs per table per day; try again after"):
        bench.load()


def test_lost_contact_is_an_error_and_the_run_is_found_by_the_next_try(bench: Bench, service: DTS):
    service.fail["GetTransferRun"] = [grpc.StatusCode.UNAVAILABLE] * 50
    bench.batch(WALLETS[0])
    with pytest.raises(WarehouseError, match=r"lost contact with run .* of "):
        bench.load()
    assert bench.table.loaded_batches() == set()
    service.fail.clear()
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])
    assert service.calls.count("StartManualTransferRuns") == 1, "the run under way was awaited"


def test_an_outage_that_passes_is_waited_out(bench: Bench, service: DTS):
    for method in ("GetTransferRun", "ListTransferRuns", "GetTransferConfig"):
        service.fail[method] = [grpc.StatusCode.UNAVAILABLE]
    bench.batch(WALLETS[0])
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


def test_a_start_whose_answer_is_lost_is_not_repeated_blindly(bench: Bench, service: DTS):
    service.fail["StartManualTransferRuns"] = [grpc.StatusCode.UNAVAILABLE]
    bench.batch(WALLETS[0])
    with pytest.raises(WarehouseError, match="cannot start a run"):
        bench.load()
    assert service.calls.count("StartManualTransferRuns") == 1
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


def test_a_run_of_something_else_is_awaited_and_does_not_count(bench: Bench, service: DTS):
    bench.batch(WALLETS[0])
    service.start({"data_path_template": "gs://other/*", "destination_table_name_template": "x"})
    service.endings.append((STATES.FAILED, "not ours"))
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])


def test_a_run_with_the_parameters_of_another_process_is_not_ours(bench: Bench, service: DTS):
    bench.batch(WALLETS[0])
    start = service.start
    stolen = iter([True])

    def steal(params: dict[str, str]):
        if next(stolen, False):
            service.endings.append((STATES.FAILED, "the other's"))
            return start({**params, "destination_table_name_template": "someone_elses"})
        return start(params)

    service.start = steal  # type: ignore[method-assign]
    bench.load()
    assert bench.ids() == expected(WALLETS[:1])
    assert service.calls.count("StartManualTransferRuns") == 2


def test_success_without_the_rows_is_no_success(bench: Bench, service: DTS):
    service.load = lambda params, into: None
    bench.batch(WALLETS[0])
    with pytest.raises(WarehouseError, match=r"0 were\s+staged.*nothing was loaded"):
        bench.load()
    assert bench.table.loaded_batches() == set()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data_source_id": "scheduled_query"}, "should be for 'google_cloud_storage'"),
        ({"destination_dataset_id": "elsewhere"}, "should go to 'd"),
        ({"schedule_options": {"disable_auto_scheduling": False}}, "schedule of its own"),
    ],
)
def test_a_config_that_does_not_suit_is_refused_before_anything_runs(
    bench: Bench, service: DTS, change: dict[str, object], words: str
):
    for name, value in change.items():
        setattr(service.config, name, value)
    bench.batch(WALLETS[0])
    with pytest.raises(WarehouseError, match=words):
        bench.load()
    assert "StartManualTransferRuns" not in service.calls
