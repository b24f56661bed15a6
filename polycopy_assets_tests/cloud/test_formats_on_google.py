"""What `docs/formats.md` says of BigQuery and of a bucket: ids, labels, objects."""

import hashlib
import re
import uuid

from polycopy_assets.store.base import crc32c
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.store.identity import make_id, new_id
from polycopy_assets.warehouse.bigquery.dataset import Dataset
from polycopy_assets.warehouse.bigquery.warehouse import BigQueryWarehouse
from polycopy_assets_tests.bench import WALLETS, Bench
from polycopy_assets_tests.cloud.google import PROJECT, bigquery_client, bigquery_sql
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.of_trades import manifest_name, of_trades

LABELS = {"polycopy_asset": "trades", "polycopy_run": "r-1"}


def test_jobs_labels_and_staging_are_named_by_the_batch(gcs: GCS, double: Double):
    name = f"d{uuid.uuid4().hex[:12]}"
    gcs.client().create_bucket(name)
    double.create_dataset(PROJECT, name)
    client = bigquery_client(double.url)
    dataset = Dataset(client, PROJECT, name, max_bytes_billed=10**10, labels=LABELS)
    store = of_trades(GCSStore(gcs.client(), name, "p"))
    bench = Bench(store, BigQueryWarehouse(dataset), bigquery_sql(client, name))
    bench.batch(*WALLETS)
    bench.load()

    written = store.read("combined/manifests/00000001.json")
    what = f"bigquery://{PROJECT}/{name} 1 ".encode() + written
    batch = f"00000001_{hashlib.sha256(what).hexdigest()[:16]}"
    (load,) = double.done("load")
    assert load.id == f"polycopy_load_{batch}_0"
    into = load.configuration["load"]["destinationTable"]["tableId"]
    assert into == f"polycopy_staging_{batch}"
    queries = {job.id for job in double.done("query")}
    assert f"polycopy_merge_{batch}_0" in queries
    rest = queries - {f"polycopy_merge_{batch}_0"}
    ours = {each for each in rest if each.startswith("polycopy_")}
    assert ours
    assert all(re.fullmatch(r"polycopy_query_[0-9a-f]{32}_0", each) for each in ours)
    for job in double.jobs:
        if job.id.startswith("polycopy_"):
            labels = job.configuration["labels"]
            assert set(labels) == {"polycopy_asset", "polycopy_run", "polycopy_call"}
    assert client.get_table(f"{name}.trades").labels == {}


def test_what_is_loaded_is_noted_in_a_table(gcs: GCS, double: Double):
    name = f"d{uuid.uuid4().hex[:12]}"
    gcs.client().create_bucket(name)
    double.create_dataset(PROJECT, name)
    client = bigquery_client(double.url)
    dataset = Dataset(client, PROJECT, name, max_bytes_billed=10**10, labels=LABELS)
    store = of_trades(GCSStore(gcs.client(), name, "p"))
    own = make_id(store, new_id())
    bench = Bench(store, BigQueryWarehouse(dataset), bigquery_sql(client, name))
    rows = [bench.batch(WALLETS[0]).rows, bench.batch(WALLETS[1]).rows]
    bench.load()
    fields = client.get_table(f"{name}.polycopy_batches").schema
    assert [(field.name, field.field_type) for field in fields] == [
        ("store", "STRING"),
        ("batch", "INTEGER"),
        ("digest", "STRING"),
        ("rows", "INTEGER"),
        ("loaded_at", "TIMESTAMP"),
    ]
    noted = [tuple(row.values()) for row in client.list_rows(f"{name}.polycopy_batches")]
    whole, *batches = sorted(noted, key=lambda row: row[1])
    assert whole[:2] == (own, 0)
    assert re.fullmatch(r"[0-9a-f]{32}", whole[2])
    assert whole[3] == sum(rows)
    manifests = [store.read(manifest_name(number)) for number in (1, 2)]
    assert [row[:4] for row in batches] == [
        (own, number, crc32c(manifest), count)
        for number, manifest, count in zip((1, 2), manifests, rows, strict=True)
    ]


def test_a_bucket_has_a_marker_of_its_layout_and_objects_tell_their_version(gcs: GCS):
    name = f"d{uuid.uuid4().hex[:12]}"
    bucket = gcs.client().create_bucket(name)
    store = of_trades(GCSStore(gcs.client(), name, "p"))
    store.check_writable()
    assert bucket.blob("p/polycopy-store.json").download_as_bytes() == b'{"format": 1}\n'
    store.create("trades/x", new_id().encode(), {"rows": "3", "source": "dome"})
    blob = bucket.get_blob("p/trades/x")
    assert blob is not None
    assert set(blob.metadata or {}) == {"polycopy-version", "rows", "source"}
