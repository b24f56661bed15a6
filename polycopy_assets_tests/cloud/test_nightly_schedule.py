"""The schedule of the nightly job: it starts the job, as the account that may do so.

On doubles; and by `make test-cloud` in a real project, with an image that is in a registry.
"""

import time
from collections.abc import Iterator

import pytest
from googleapiclient.errors import HttpError

from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets_tests.cloud.projects import GRANTED_SECONDS, There
from polycopy_assets_tests.cloud.run_jobs import why

pytestmark = pytest.mark.timeout(60_000)  # each wait of its own has an end
DISPATCHED_SECONDS = 300.0


@pytest.fixture
def schedule(there: There, name: str) -> Iterator[str]:
    """The name of a job, with a schedule of the same name that is deleted at the end."""
    yield name
    there.schedules.delete(name)
    assert there.scheduler is None or there.scheduler.jobs == {}


def started(there: There, name: str) -> str:
    """The one execution of the job, as soon as there is one."""
    patience = time.monotonic() + DISPATCHED_SECONDS
    while not (found := there.jobs.executions(name)):
        assert time.monotonic() < patience, "the schedule has started nothing"
        time.sleep(0.05 if there.fake else 5)
    (execution,) = found
    return execution


def test_the_schedule_starts_the_job_which_fills_the_table(there: There, schedule: str):
    there.jobs.replace(there.job(schedule))
    there.jobs.let_start(schedule, there.region, there.account)
    there.schedules.create(schedule, there.account)
    if there.fake is None:
        time.sleep(GRANTED_SECONDS)
    assert there.jobs.executions(schedule) == []
    there.schedules.run(schedule)
    ended = there.jobs.ended(started(there, schedule), there.seconds)
    assert ended.get("succeededCount") == 1, why(ended)
    rows = there.bench.warehouse.table(TRADES).rows_by_wallet()
    assert rows == there.stored()
    assert all(rows[wallet] for wallet in there.wallets)


@pytest.mark.parametrize("there", ["double"], indirect=True)
def test_an_account_that_may_not_start_the_job_starts_nothing(there: There, schedule: str):
    assert there.scheduler
    there.jobs.replace(there.job(schedule))
    there.schedules.create(schedule, there.account)
    there.schedules.run(schedule)
    assert there.scheduler.calls == [403]
    assert there.jobs.executions(schedule) == []


@pytest.mark.parametrize("there", ["double"], indirect=True)
def test_a_schedule_is_made_once(there: There, schedule: str):
    there.schedules.create(schedule, there.account)
    with pytest.raises(HttpError, match="already exists"):
        there.schedules.create(schedule, there.account)
