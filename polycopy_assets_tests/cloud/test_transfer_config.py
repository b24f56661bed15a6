"""The transfer configuration that `deploy/terraform` makes: two batches are loaded by its runs.

On a stand-in; and by `make test-cloud` on the real service, where the account may use transfers.
"""

import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import bigquery, storage
from google.cloud import bigquery_datatransfer_v1 as dts

from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.transfer import Transfer
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets_tests.bench import WALLETS, Bench, expected
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client, bigquery_sql
from polycopy_assets_tests.cloud.projects import GRANTED_SECONDS, LOCATION
from polycopy_assets_tests.cloud.run_jobs import let_work
from polycopy_assets_tests.cloud.test_terraform import resource
from polycopy_assets_tests.fakes.dts import transfer_service
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.of_trades import of_trades

pytestmark = pytest.mark.timeout(7_200)  # each wait of its own has an end
ACCOUNT = "POLYCOPY_TEST_TRANSFER_ACCOUNT"


def configured(dataset: str, bucket: str) -> dts.TransferConfig:
    """The configuration of Terraform's files, for this dataset and bucket."""
    made = resource("google_bigquery_data_transfer_config.batches")
    params = {name: str(value).strip('"') for name, value in made["params"].items()}
    folder = params["data_path_template"].rpartition("}")[2]
    params["data_path_template"] = f"gs://{bucket}/{folder}"
    return dts.TransferConfig(
        display_name=dataset,
        data_source_id=made["data_source_id"],
        destination_dataset_id=dataset,
        params=params,
        schedule_options=dts.ScheduleOptions(**made["schedule_options"][0]),
    )


def loading(client: bigquery.Client, dataset: str, store: GCSStore, transfer: Transfer) -> Bench:
    """A bench on a dataset, whose batches are loaded by `transfer`."""
    place = Dataset(client, client.project, dataset, max_bytes_billed=10**10, labels={})
    warehouse = BigQueryWarehouse(place, loader=transfer)
    return Bench(of_trades(store), warehouse, bigquery_sql(client, dataset))


@pytest.fixture(params=["stand-in", pytest.param("cloud", marks=pytest.mark.cloud)])
def transferred(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A bench whose batches are loaded by runs of a configuration that was made for it."""
    name = f"d{uuid.uuid4().hex[:12]}"
    if request.param == "cloud":
        yield from _real(request.getfixturevalue("cloud"), name)
        return
    server: GCS = request.getfixturevalue("files")
    client = bigquery_client(request.getfixturevalue("emulator"))
    client.create_dataset(name)
    server.client().create_bucket(name)

    def load(params: dict[str, str], into: str) -> None:
        table = f"{PROJECT}.{into}.{params['destination_table_name_template']}"
        config = bigquery.LoadJobConfig(
            source_format=params["file_format"], write_disposition="WRITE_TRUNCATE"
        )
        client.load_table_from_uri(params["data_path_template"], table, job_config=config).result()

    with transfer_service(name, load) as service:
        made = service.client().create_transfer_config(
            parent=f"projects/{PROJECT}/locations/eu", transfer_config=configured(name, name)
        )
        transfer = Transfer(service.client(), made.name, patience=3, poll=0.01)
        yield loading(client, name, GCSStore(server.client(), name), transfer)
        assert service.calls.count("StartManualTransferRuns") == 2


def _real(bucket: storage.Bucket, name: str) -> Iterator[Bench]:
    account = os.environ.get(ACCOUNT)
    if not account:
        pytest.skip(f"{ACCOUNT} is not set: no service account whose transfers may be run")
    project = str(bucket.client.project)
    owner = bigquery.Client(project=project, location=LOCATION)
    owner.create_dataset(name)
    try:
        let_work(bucket, owner, name, account)
        time.sleep(GRANTED_SECONDS)
        client = dts.DataTransferServiceClient()
        asked: dict[str, Any] = {
            "parent": f"projects/{project}/locations/{LOCATION.lower()}",
            "transfer_config": configured(name, str(bucket.name)),
            "service_account_name": account,
        }
        made = client.create_transfer_config(request=dts.CreateTransferConfigRequest(**asked))
        try:
            store = GCSStore(bucket.client, str(bucket.name), name)
            yield loading(owner, name, store, Transfer(client, made.name))
        finally:
            client.delete_transfer_config(name=made.name)
    finally:
        owner.delete_dataset(name, delete_contents=True)


def test_batches_are_loaded_by_runs_of_the_configuration(transferred: Bench):
    transferred.batch(*WALLETS[:2])
    transferred.load()
    assert transferred.ids() == expected(WALLETS[:2])
    transferred.batch(WALLETS[2])
    transferred.load()
    assert transferred.ids() == expected(WALLETS[:3])
