"""What `polycopy dev` shows: that the UI is ready, and what fails, and not each step of Dagster."""

import os
import subprocess
import sys
from pathlib import Path

from polycopy_assets.cli.dev_log import needed

URL = "http://127.0.0.1:3000"
AT = "2026-11-29 21:20:26 +0000"
SERVING = f"Serving dagster-webserver on {URL} in process 17621"
READY = f"\x1b[32m{AT}\x1b[0m - dagster-webserver - \x1b[34mINFO\x1b[0m - {SERVING}\n"
STEP = f'{AT} - dagster - DEBUG - check - 902d249d - 20318 - STEP_START - Started "x".\n'
FAILED = [
    f"{AT} - dagster - ERROR - fetch - 902d249d - 20318 - RUN_FAILURE - failed\n",
    "\n",
    "KeyError: 'x'\n",
    "Stack Trace:\n",
]


def test_what_fails_is_shown_with_its_trace_and_each_step_is_not():
    superseded = ["core.py:911: SupersessionWarning: Function `dev_command` is\n", "  return x\n"]
    said = [*superseded, "cannot start\n", READY, STEP, "  of the step\n", *FAILED, STEP]
    assert list(needed(said)) == [
        "cannot start\n",
        f"Dagster's UI is ready: {URL} (^C ends it, and its runs)\n",
        *FAILED,
    ]


def test_a_failure_in_plain_words_has_no_trace_and_every_other_error_has_one():
    trace = ["\n", "Stack Trace:\n", '  File "x.py", line 1, in wallet\n', "    raise it\n"]
    plain = [FAILED[0], "\n", "dagster._core.definitions.events.Failure: 1 of 3 wallets failed\n"]
    other = [FAILED[0], "\n", "KeyError: 'x'\n", *trace]
    assert list(needed([*plain, *trace, *other, STEP])) == [*plain, "\n", *other]


def test_why_dagster_has_ended_is_shown_though_no_record_says_it():
    launching = f"{AT} - dagster - INFO - Launching Dagster services...\n"
    died = [
        "Traceback (most recent call last):\n",
        '  File "dev.py", line 258, in dev_command\n',
        "Exception: the code server did not start in time\n",
    ]
    assert list(needed([launching, "  more\n", *died, launching, "  more\n"])) == died
    assert list(needed([launching, *died], lambda: True)) == []


def test_what_is_interrupted_at_the_end_has_no_trace():
    assert list(needed([*FAILED, "Exception in thread\n"], lambda: True)) == FAILED[:1]


def test_a_warning_is_shown_but_for_those_of_a_first_start():
    first = f"{AT} - dagster.daemon.X - WARNING - No cursor for event type RUN_FAILURE\n"
    other = f"{AT} - dagster.daemon.X - WARNING - something is late\n"
    assert list(needed([first, other])) == [other]


def test_the_process_that_reads_ends_with_its_writers_and_takes_any_bytes(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "polycopy_assets.cli.dev_log"],
        input=STEP.encode() + b"\xff broken\n" + READY.encode() + b"no record: \xff",
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONUTF8": "1"},
        cwd=tmp_path,
    )
    assert done.stdout.decode() == f"Dagster's UI is ready: {URL} (^C ends it, and its runs)\n"
    assert done.stderr == b""
