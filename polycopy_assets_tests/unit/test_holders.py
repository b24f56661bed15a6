"""Who holds a lock: by the file, which is an inode on a device, and not by a number alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polycopy_assets.system.holders import locked_by

LOCK = """
import fcntl, sys, time
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="Linux tells who holds a lock")
def test_a_lock_on_a_file_of_another_disk_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "db"
    file.touch()
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, str(file)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "locked\n"
            assert locked_by(file) == [process.pid]
            assert locked_by(tmp_path) == []
            found = list(file.stat())
            found[2] += 1  # the device
            monkeypatch.setattr(Path, "stat", lambda self: os.stat_result(found))
            assert locked_by(file) == []
        finally:
            process.kill()
