"""What holds of the image, however its containers are run."""

import json
import re
from pathlib import Path

from polycopy_assets_tests.container.images import MEMORY, Run
from polycopy_assets_tests.container.isolated import PEAK


def the_demo_needs_no_more_than_it_may_use(run: Run, scratch: Path) -> None:
    """It runs in 512 MB, a second one fetches nothing, and the table is whole."""
    assert run(scratch, "id", "-u").stdout == "10001\n"
    first = run(scratch, "python3", "-c", PEAK, "polycopy", "demo")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "nothing was fetched again" not in first.stdout
    peak = int(first.stdout.splitlines()[-1])
    print(f"the demo used at most {peak / 2**20:.0f} MB")
    assert 50 * 2**20 < peak <= MEMORY
    again = run(scratch, "polycopy", "demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing was fetched again" in again.stdout
    told = run(scratch, "polycopy", "status", "--json")
    assert told.returncode == 0, told.stderr
    counts = json.loads(told.stdout)
    assert counts["remaining"] == counts["failed"] == 0
    assert counts["total"] == counts["complete"] > 0
    found = re.search(r"([\d,]+) rows in the table", again.stdout)
    assert found
    assert counts["table_rows"] == counts["trades"] == int(found[1].replace(",", ""))


def nothing_but_the_volume_can_be_written(run: Run, scratch: Path) -> None:
    """And the process has no rights, and cannot get any."""
    for place in ("/x", "/tmp/x", "/var/tmp/x", "/opt/polycopy/x", "/run/x"):
        refused = run(scratch, "touch", place)
        assert refused.returncode == 1, place
        assert re.search("Read-only file system|Permission denied|No such file", refused.stderr)
    assert run(scratch, "touch", "/scratch/x").returncode == 0
    assert (scratch / "x").stat().st_uid == 10001
    rights = run(scratch, "grep", "-E", "^(CapPrm|CapEff|NoNewPrivs):", "/proc/self/status").stdout
    assert rights.split()[1::2] == ["0" * 16, "0" * 16, "1"]
