"""What Dagster's pages live on: whoever watches a run sees each event, whoever writes it."""

import threading
from pathlib import Path

import pytest
from dagster import EventLogEntry
from dagster._core.storage.event_log import SqliteEventLogStorage

from polycopy_assets.record.private.event_log import PooledSqliteEventLogStorage
from polycopy_assets_tests.talking import talking

EVENTS = 20
RUN = "0b4e1a3c-0000-4000-8000-000000000001"

_WRITER = f"""
import sys, time
from dagster import EventLogEntry
from polycopy_assets.record.private.event_log import PooledSqliteEventLogStorage
log = PooledSqliteEventLogStorage(sys.argv[1])
for number in range({EVENTS}):
    log.store_event(EventLogEntry(
        user_message=f"event {{number}}", level=20, job_name="fetch", run_id="{RUN}",
        error_info=None, timestamp=time.time(), step_key=None, dagster_event=None,
    ))
    print(number, flush=True)
    time.sleep(0.05)
sys.stdin.read()  # its connection stays open, as that of a run does that goes on
"""


@pytest.mark.parametrize("dagsters_own", [False, True])
def test_who_watches_a_run_sees_every_event_while_its_process_goes_on(
    tmp_path: Path, *, dagsters_own: bool
):
    ours = PooledSqliteEventLogStorage(str(tmp_path))
    watching = SqliteEventLogStorage(str(tmp_path / "history" / "runs")) if dagsters_own else ours
    seen: list[str] = []
    complete = threading.Event()

    def callback(event: EventLogEntry, _cursor: str) -> None:
        seen.append(event.user_message)
        if len(seen) >= EVENTS:
            complete.set()

    watching.watch(RUN, None, callback)
    try:
        with talking(_WRITER, str(tmp_path)) as writer:
            written = [writer.line() for _ in range(EVENTS)]
            assert written == [str(number) for number in range(EVENTS)]
            assert complete.wait(60), "an event was not seen while its process went on"
    finally:
        watching.end_watch(RUN, callback)
        watching.dispose()
        ours.dispose()
    assert seen == [f"event {number}" for number in range(EVENTS)]
