"""The whole backfill on Google Cloud's stand-ins, by the command and by Dagster's own."""

import fnmatch
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.feeds.trades.columns import VIEWS
from polycopy_assets_tests.cloud.google import GoogleDeployment, bigquery_client
from polycopy_assets_tests.deployment import new_trades, sample_api, truth
from polycopy_assets_tests.fakes.bigquery import Double, Job
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.fakes.proxy import Fault, proxy
from polycopy_assets_tests.of_trades import record_in

DAY = 86_400
BODY = b'{"error": {"message": "x", "errors": [{"reason": "backendError"}]}}'
GCS_CALLS = [
    ("POST", "/upload/", "polycopy-store"),
    ("POST", "/upload/", "trades/"),
    ("POST", "/upload/", "combined/parts/.*part-"),
    ("POST", "/upload/", "combined/parts/.*claims"),
    ("POST", "/upload/", "combined/manifests"),
    ("GET", "prefix=.*trades", ""),
    ("GET", "prefix=.*combined%2Fmanifests", ""),
    ("GET", "prefix=.*combined%2Fparts", ""),
    ("GET", "trades%2F.*alt=media", ""),
    ("GET", "manifests%2F.*alt=media", ""),
]
BIGQUERY_CALLS = [
    ("GET", "/datasets/[a-z0-9]+[?]", ""),
    ("GET", "/tables/traders", ""),
    ("GET", "/tables/trades", ""),
    ("GET", "/tables/polycopy_staging", ""),
    ("GET", "/tables/polycopy_batches[?]", ""),
    ("GET", "/tables/polycopy_batches/data", ""),
    ("POST", "/tables", "trades"),
    ("POST", "/tables", "polycopy_staging"),
    ("POST", "/jobs", "SELECT wallet_address"),
    ("POST", "/jobs", '"load"'),
    ("POST", "/jobs", "CREATE TABLE"),
    ("POST", "/jobs", "BEGIN TRANSACTION"),
    ("POST", "/jobs", r"MIN\(T"),
    ("POST", "/jobs", r"SELECT COUNT\(\*\) FROM"),
    ("POST", "/jobs", "HAVING"),
    ("GET", "/jobs/polycopy_load", ""),
    ("GET", "/jobs/polycopy_merge", ""),
    ("GET", "/jobs/polycopy_query", ""),
    ("GET", "/queries/", ""),
    ("DELETE", "/tables/polycopy_staging", ""),
]
StandIns = tuple[GCS, str]


@pytest.fixture(params=["double", "bqemulator"])
def stand_ins(request: pytest.FixtureRequest) -> StandIns:
    if request.param == "double":
        return request.getfixturevalue("gcs"), request.getfixturevalue("double").url
    return request.getfixturevalue("files"), request.getfixturevalue("emulator")


def test_a_hundred_wallets_end_in_bigquery_and_a_repeat_loads_nothing(
    tmp_path: Path, stand_ins: StandIns
):
    world = generate(31, 100, whales=2, whale_trades=2500)
    with sample_api(world) as served:
        deployment = GoogleDeployment(tmp_path, served.url, *stand_ins)
        (tmp_path / "wallets.txt").write_text("\n".join(world.wallets()))
        assert deployment.polycopy("wallets", "add", "-f", "wallets.txt").returncode == 0
        done = deployment.polycopy("backfill", "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        again = deployment.polycopy("backfill", "--json")
        assert again.returncode == 0, again.stderr
        status = json.loads(deployment.polycopy("status", "--json").stdout)
    rows = truth(world).total()
    assert deployment.table() == truth(world)
    assert (report["complete"], report["failed"], report["table_rows"]) == (100, 0, rows)
    assert json.loads(again.stdout)["requests"] == 0
    assert (status["complete"], status["trades"], status["table_rows"]) == (100, rows, rows)
    tables = {table.table_id for table in deployment.bigquery.list_tables(deployment.name)}
    ours = {"traders", "trades", "polycopy_batches", *VIEWS}
    assert tables == ours, "a staging table was left behind"


def test_a_thousand_wallets_cost_a_handful_of_jobs_and_a_repeat_bills_nothing(
    tmp_path: Path, gcs: GCS, double: Double
):
    world = generate(37, 1000, most_trades=12)
    with sample_api(world, lag_seconds=DAY) as served:
        deployment = GoogleDeployment(tmp_path, served.url, gcs, double.url)
        deployment.want(world.wallets())
        double.jobs.clear()
        assert deployment.backfill().table_rows == truth(world).total()
        loads, queries = len(double.done("load")), len(double.done("query"))
        billed = sum(job.bytes_billed for job in double.jobs)
        double.jobs.clear()
        repeat = deployment.backfill()
        assert repeat.requests == 0
        repeated = [len(double.done("load")), len(double.done("query"))]
        repeat_billed = sum(job.bytes_billed for job in double.jobs)
        served.state.lag_seconds = 5
        world.add(new_trades(world.wallets()[0], int(time.time()) - DAY // 2, 1500))
        double.jobs.clear()
        deployment.backfill(refresh=True)
        refreshed = len(double.done("load")), len(double.done("query"))
        assert deployment.table() == truth(world)
    print(
        f"1,000 wallets: {loads} load jobs, {queries} query jobs, {billed / 2**20:.0f} MiB billed;"
        f" repeat: {repeated}, {repeat_billed} bytes billed; refresh: {refreshed}"
    )
    assert loads == 1
    assert queries < 10
    assert repeated[0] == 0
    assert repeat_billed == 0
    assert refreshed[0] <= 1
    assert refreshed[1] < 10


def test_what_a_load_has_cost_stands_in_its_materialization(
    tmp_path: Path, gcs: GCS, double: Double
):
    world = generate(41, 5, whales=1, whale_trades=50)
    with sample_api(world) as served:
        deployment = GoogleDeployment(tmp_path, served.url, gcs, double.url)
        deployment.want(world.wallets())
        deployment.backfill()
        with deployment.instance() as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey("trades"))
            assert event is not None
            materialization = event.asset_materialization
            assert materialization is not None
            metadata = {name: value.value for name, value in materialization.metadata.items()}
            run_id = event.run_id
            assert record_in(instance).versions()
    load = [job for job in double.jobs if job.labels.get("polycopy_run") == run_id]
    ours = [job for job in load if job.labels["polycopy_asset"] == "trades"]
    assert metadata["load_jobs"] == 1
    assert metadata["bytes_billed"] == sum(
        job.bytes_billed for job in ours if "BEGIN" in job.sql or "MIN(T" in job.sql
    )
    assert (metadata["query_jobs"], metadata["slot_ms"]) == (4, 4 * 7)
    assert {job.labels["polycopy_asset"] for job in double.jobs} == {"traders", "trades"}


def test_dagsters_own_command_loads_into_bigquery(tmp_path: Path, stand_ins: StandIns):
    world = generate(43, 3, whales=3, whale_trades=20)
    key = world.wallets()[0].lower()
    with sample_api(world) as served:
        deployment = GoogleDeployment(tmp_path, served.url, *stand_ins)
        deployment.want(world.wallets())
        select = ("asset", "materialize", "-m", "polycopy_assets.definitions", "--select")
        fetched = deployment.dagster(*select, "wallet_trades", "--partition", key)
        assert fetched.returncode == 0, fetched.stderr
        loaded = deployment.dagster(*select, "combined_trades,trades")
        assert loaded.returncode == 0, loaded.stderr
    assert deployment.table() == truth(world, [key])


def test_beside_the_old_job_nothing_of_it_is_touched_and_nothing_of_ours_is_picked_up(
    tmp_path: Path, gcs: GCS, double: Double
):
    world = generate(47, 4, whales=4, whale_trades=30)
    keys = [wallet.lower() for wallet in world.wallets()]
    with sample_api(world) as served:
        deployment = GoogleDeployment(tmp_path, served.url, gcs, double.url)
        deployment.environ["POLYCOPY_STORE"] = f"gs://{deployment.name}"  # the bucket's root
        bucket = deployment.gcs.bucket(deployment.name)
        for key in keys:
            bucket.blob(f"trades/{key}.jsonl").upload_from_string('{"old": "job"}\n')
        before = {blob.name: blob.generation for blob in bucket.list_blobs()}
        sql = deployment.rows
        sql(
            "CREATE TABLE {}trades (wallet_address STRING, id STRING, timestamp TIMESTAMP,"
            " price FLOAT64, other STRING)"
        )
        sql(
            "INSERT INTO {}trades (wallet_address, id, timestamp, other) VALUES"
            f" ('{keys[0]}', 'double', TIMESTAMP '2024-01-01 00:00:00', 'x'),"
            " ('0xforeign', 'stays', TIMESTAMP '2024-01-01 00:00:00', 'y')"
        )
        sql("CREATE TABLE {}trades_staging (x STRING)")
        sql("CREATE TABLE {}backfill_checkpoint (wallet_address STRING)")
        deployment.want(world.wallets())
        report = deployment.backfill()
    assert (report.failed, report.failed_checks) == (0, [])
    names = {blob.name: blob.generation for blob in bucket.list_blobs()}
    assert {name: names.get(name) for name in before} == before
    ours = names.keys() - before.keys()
    assert any(name.startswith("trades/") for name in ours)
    pattern = re.compile(fnmatch.translate("trades/*.jsonl"))  # where * crosses / as well
    assert not [name for name in ours if pattern.match(name)]
    assert sql("SELECT other FROM {}trades WHERE wallet_address = '0xforeign'") == [("y",)]
    assert sql("SELECT COUNT(*) FROM {}trades WHERE id = 'double'") == [(0,)]
    tables = {table.table_id for table in deployment.bigquery.list_tables(deployment.name)}
    theirs = {"trades_staging", "backfill_checkpoint"}
    assert tables == {"trades", "traders", "polycopy_batches", *VIEWS} | theirs
    table = bigquery_client(double.url).get_table(f"{deployment.name}.trades")
    assert table.time_partitioning is None, "its layout is its own"


def test_faults_at_every_call_lose_and_double_nothing(tmp_path: Path, gcs: GCS, double: Double):
    world = generate(53, 30, whales=2, whale_trades=1500)
    with (
        sample_api(world) as served,
        proxy(gcs.url) as to_gcs,
        proxy(double.url) as to_bigquery,
    ):
        deployment = GoogleDeployment(tmp_path, served.url, gcs, double.url)
        deployment.environ["STORAGE_EMULATOR_HOST"] = to_gcs.url
        deployment.environ["BIGQUERY_EMULATOR_HOST"] = to_bigquery.url
        deployment.environ["POLYCOPY_SEGMENT_BYTES"] = "20000"
        deployment.want(world.wallets())
        for front, calls in ((to_gcs, GCS_CALLS), (to_bigquery, BIGQUERY_CALLS)):
            for number, (method, address, content) in enumerate(calls):
                kind = (503, "reset_before", "reset_after")[number % 3]
                front.faults.append(Fault(method, address, kind, content=content, body=BODY))
        done = deployment.polycopy("backfill", "--json")
        assert done.returncode == 0, done.stderr
    missed = [fault for front in (to_gcs, to_bigquery) for fault in front.faults if fault.times]
    assert missed == []
    assert deployment.table() == truth(world)
    assert len(double.done("load")) == 1


@pytest.mark.parametrize("which", ['"load"', "BEGIN TRANSACTION"])
def test_killed_while_bigquery_works_it_goes_on_with_the_same_job(
    tmp_path: Path, gcs: GCS, double: Double, which: str
):
    world = generate(59, 20, whales=1, whale_trades=300)
    with sample_api(world) as served:
        deployment = GoogleDeployment(tmp_path, served.url, gcs, double.url)
        deployment.want(world.wallets())

        def matches(job: Job) -> bool:
            return which in json.dumps(job.configuration)

        held = double.hold(matches)
        process = subprocess.Popen(
            [sys.executable, "-m", "polycopy_assets", "backfill"],
            env=deployment.process_environ(),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while not any(matches(job) for job in double.jobs):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        served.state.counts.reset()
        (job,) = [job for job in double.jobs if matches(job)]
        before = len(double.requests)

        def release() -> None:
            while not any(f"/jobs/{job.id}" in path for _, path in double.requests[before:]):
                time.sleep(0.05)
            held.set()

        looking = threading.Thread(target=release)
        looking.start()
        report = deployment.backfill()
        looking.join(10)
    assert (report.requests, report.failed_checks) == (0, [])
    assert deployment.table() == truth(world)
    assert len([job for job in double.jobs if matches(job)]) == 1, "it was started again"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("POLYCOPY_STORE=gs://no-such-bucket/p", "POLYCOPY_STORE='gs://no-such-bucket/p'"),
        ("POLYCOPY_WAREHOUSE=bigquery://proj/nowhere", "Not found: Dataset proj:nowhere"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_2(
    tmp_path: Path, gcs: GCS, double: Double, setting: str, words: str
):
    deployment = GoogleDeployment(tmp_path, "http://127.0.0.1:9", gcs, double.url)
    done = deployment.polycopy("backfill", environ=dict([setting.split("=")]))
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_credentials_there_is_one_line_that_says_so(
    tmp_path: Path, gcs: GCS, double: Double
):
    deployment = GoogleDeployment(tmp_path, "http://127.0.0.1:9", gcs, double.url)
    for name in ("STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        del deployment.environ[name]
    done = deployment.polycopy("backfill", environ={"HOME": str(tmp_path)})
    assert done.returncode == 2
    assert "default credentials" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
