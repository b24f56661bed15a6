"""Which process has locked a file: its id, its program, and when it started.

On Linux only, from `/proc`; elsewhere, and for processes of other users, unknown parts are left
out. Only the program's name is shown, because arguments may be secret.
"""

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path, PurePath

from polycopy_assets.text import NAME, one_line

_LOCK_LINE = re.compile(
    r"^\d+: (?:POSIX|FLOCK)\s+\S+\s+WRITE (\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) ", re.MULTILINE
)
"""Process, major and minor number of the device (hexadecimal), inode."""


def described(pid: int) -> str:
    """`process 4711 (python3 notebook.py, started 2026-11-28 03:12:00 UTC)`."""
    known = [text for text in (_command(pid), _started(pid)) if text]
    return f"process {pid}" + (f" ({', '.join(known)})" if known else "")


def locked_by(*paths: Path) -> list[int]:
    """The other processes that hold a write lock on one of `paths`; none if that is unknown."""
    files = set()
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            continue
        files.add((os.major(found.st_dev), os.minor(found.st_dev), found.st_ino))
    try:
        locks = Path("/proc/locks").read_text()
    except OSError:
        return []
    found = {
        int(pid)
        for pid, major, minor, inode in _LOCK_LINE.findall(locks)
        if (int(major, 16), int(minor, 16), int(inode)) in files
    }
    return sorted(found - {os.getpid()})


def _command(pid: int) -> str:
    """The program, and the script or module if the program is an interpreter."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
    program, *arguments = text.split("\0")
    if arguments[:1] == ["-m"]:
        del arguments[0]
    script = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    names = (PurePath(part).name for part in (program, script))
    return one_line(" ".join(" ".join(name.split()) for name in names if name), NAME)


def _started(pid: int) -> str:
    """When the process started, by its age in clock ticks since the machine started."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return ""
    age = uptime - int(stat[19]) / os.sysconf("SC_CLK_TCK")
    return f"started {datetime.fromtimestamp(time.time() - age, UTC):%Y-%m-%d %H:%M:%S} UTC"
