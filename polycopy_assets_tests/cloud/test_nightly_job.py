"""The nightly job of `deploy/cloud-run/job.yaml`: made, executed, watched and deleted.

On a double of Cloud Run, which starts what the image would start; and by `make test-cloud` in a
real project, with an image that is in a registry.
"""

import re
import time
from typing import Any

import httpx
import pytest
from googleapiclient.errors import HttpError

from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets_tests.cloud.projects import WORLD, There
from polycopy_assets_tests.cloud.run_jobs import why
from polycopy_assets_tests.cloud.test_terraform import resource

pytestmark = pytest.mark.timeout(60_000)  # each wait of its own has an end


def test_the_job_fills_the_table_and_its_second_execution_has_nothing_to_do(
    there: There, name: str
):
    there.jobs.replace(there.job(name))
    first = there.jobs.execute(name, there.seconds)
    assert first.get("succeededCount") == 1, why(first)
    rows = there.bench.warehouse.table(TRADES).rows_by_wallet()
    assert rows == there.stored()
    assert all(rows[wallet] for wallet in there.wallets)
    assert there.bench.warehouse.table(TRADES).duplicates(1).found == []
    before = there.objects()
    if there.fake:
        there.fake[1].state.counts.reset()
    there.jobs.replace(there.job(name))  # as an upgrade does it
    second = there.jobs.execute(name, there.seconds)
    assert second.get("succeededCount") == 1, why(second)
    assert there.objects() == before
    assert there.bench.warehouse.table(TRADES).rows_by_wallet() == rows
    if there.fake:
        running, served = there.fake
        assert served.state.counts.trade_requests == 0
        assert rows == {each.lower(): len(WORLD.truth(each)) for each in WORLD.wallets()}
        ends = [each.attempts for each in running.executions.values()]
        assert [[attempt.code for attempt in each] for each in ends] == [[0], [0]]


@pytest.mark.parametrize("there", ["double"], indirect=True)
def test_a_job_that_cannot_start_ends_as_failed_and_says_why(there: There, name: str):
    assert there.fake
    running, _ = there.fake
    job = there.job(name)
    task: dict[str, Any] = job["spec"]["template"]["spec"]["template"]["spec"]
    (container,) = task["containers"]
    task["maxRetries"] = 0
    del container["command"]
    there.jobs.replace(job)
    ended = there.jobs.execute(name, there.seconds)
    assert ended["failedCount"] == 1
    assert 'exec: "backfill": executable file not found' in why(ended)
    # The schedule starts it by the other version of the API.
    uri = str(resource("google_cloud_scheduler_job.nightly")["http_target"][0]["uri"])
    path = re.sub(r"\$\{[^}]*\}", "x", uri.removeprefix("https://run.googleapis.com"))
    start = path.replace("/jobs/x:run", f"/jobs/{name}:run")
    assert httpx.post(f"{running.url}{start}").status_code == 200
    for _ in range(100):
        if all(each.succeeded is False for each in running.executions.values()):
            break
        time.sleep(0.05)
    assert [each.succeeded for each in running.executions.values()] == [False, False]


@pytest.mark.parametrize("there", ["double"], indirect=True)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"maxRetries": 11}, "maxRetries: 0 to 10"),
        ({"timeoutSeconds": "604801"}, "at most 168 hours"),
        ({"retries": 3}, "no such field"),
    ],
)
def test_a_manifest_that_cloud_run_refuses_makes_no_job(
    there: There, name: str, wrong: dict[str, Any], said: str
):
    job = there.job(name)
    job["spec"]["template"]["spec"]["template"]["spec"] |= wrong
    with pytest.raises(HttpError, match=said):
        there.jobs.replace(job)
    assert there.fake
    assert there.fake[0].jobs == {}
