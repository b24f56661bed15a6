"""The nightly job with its record in Cloud SQL.

On doubles, with a real Postgres; and by `make test-cloud` in a real project with such a database.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.system.interrupt import TO_BE_CONTINUED
from polycopy_assets_tests.cloud.projects import WORLD, There
from polycopy_assets_tests.cloud.run_jobs import MANIFEST, why, with_database
from polycopy_assets_tests.deployment import truth
from polycopy_assets_tests.fakes.postgres import PASSWORD, USER, new_database, postgres

pytestmark = pytest.mark.timeout(60_000)  # each wait of its own has an end
SECRET = "polycopy-instance"
DATABASE, NAMED_SECRET = "POLYCOPY_TEST_DATABASE", "POLYCOPY_TEST_SECRET"


class CloudSQL(NamedTuple):
    """A database: its connection name, and the secret with its URL."""

    connection: str
    secret: str


@pytest.fixture
def database(there: There) -> Iterator[CloudSQL]:
    """A database that is reached by a socket below /cloudsql, and by nothing else."""
    if there.fake is None:
        if not os.environ.get(DATABASE):
            pytest.skip(f"{DATABASE} is not set: no database in Cloud SQL")
        yield CloudSQL(os.environ[DATABASE], os.environ.get(NAMED_SECRET, SECRET))
        return
    named = CloudSQL("proj:eu:record", SECRET)
    with postgres(by_socket=True) as url:
        running = there.fake[0]
        running.sockets[named.connection] = Path(url.partition("?host=")[2])
        running.secrets[SECRET] = (
            f"postgresql://{USER}:{PASSWORD}@/postgres?host=/cloudsql/{named.connection}"
        )
        yield named


def test_the_record_is_kept_in_the_database_and_the_next_execution_finds_it(
    there: There, name: str, database: CloudSQL
):
    text = with_database(MANIFEST.read_text(), database.secret, database.connection)
    there.jobs.replace(there.job(name, text))
    first = there.jobs.execute(name, there.seconds)
    assert first.get("succeededCount") == 1, why(first)
    rows = there.bench.warehouse.table(TRADES).rows_by_wallet()
    assert rows == there.stored()
    assert all(rows[wallet] for wallet in there.wallets)
    before = there.objects()
    second = there.jobs.execute(name, there.seconds)
    assert second.get("succeededCount") == 1, why(second)
    assert there.objects() == before
    assert list(there.bench.store.list(TRADES.names.snapshots)) == [], "kept in the bucket"


@pytest.mark.parametrize("there", ["double"], indirect=True)
def test_a_database_that_the_job_does_not_name_is_not_reached(
    there: There, name: str, database: CloudSQL
):
    assert there.fake
    job = there.job(name, with_database(MANIFEST.read_text(), database.secret, "proj:eu:other"))
    job["spec"]["template"]["spec"]["template"]["spec"]["maxRetries"] = 0
    there.jobs.replace(job)
    ended = there.jobs.execute(name, there.seconds)
    assert ended["failedCount"] == 1
    (execution,) = there.fake[0].executions.values()
    said = execution.attempts[0].said
    assert "/cloudsql/proj:eu:record" in said
    assert PASSWORD not in said
    assert there.objects() == []


@pytest.mark.parametrize("there", ["double"], indirect=True)
def test_an_attempt_that_cloud_run_ends_is_continued_by_the_next_with_the_record_in_a_database(
    there: There, name: str, server: str
):
    assert there.fake
    running, served = there.fake
    running.secrets[SECRET] = new_database(server)
    served.state.latency = 0.2
    running.out_of_time = lambda attempt, _: (
        attempt.number == 0 and served.state.counts.trade_requests > 3
    )
    job = there.job(name, with_database(MANIFEST.read_text(), SECRET, "proj:eu:record"))
    (container,) = job["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    assert [each for each in container["env"] if "valueFrom" in each]
    there.jobs.replace(job)
    done = there.jobs.execute(name, there.seconds)
    assert (done["succeededCount"], done["retriedCount"]) == (1, 1), why(done)
    (execution,) = running.executions.values()
    assert [each.code for each in execution.attempts] == [TO_BE_CONTINUED, 0]
    assert there.bench.warehouse.table(TRADES).rows_by_wallet() == there.stored()
    assert sum(there.stored().values()) == truth(WORLD).total()
    # What is under way when it is told to stop is at most a page of each of two wallets.
    asked = sum(served.state.counts.rows.values())
    assert asked <= truth(WORLD).total() + 2 * 1_100
    password = running.secrets[SECRET].split(":")[2].split("@")[0]
    assert password not in "".join(each.said for each in execution.attempts)
    report = json.loads(execution.attempts[-1].said.strip().splitlines()[-1])
    assert report["left"] == 0
    # The database is given up, as docs/deployment.md says: nothing is requested again.
    running.secrets[SECRET] = new_database(server)
    served.state.counts.reset()
    restored = there.jobs.execute(name, there.seconds, ["reconcile", "--apply", "--json"])
    assert restored["succeededCount"] == 1, why(restored)
    said = list(running.executions.values())[-1].attempts[-1].said
    findings = json.loads(said.strip().splitlines()[-1])["findings"]
    assert {each["wallet"] for each in findings} == set(there.wallets)
    assert served.state.counts.trade_requests == 0
