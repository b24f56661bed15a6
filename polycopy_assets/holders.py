"""Who has locked a file: the process, its command, and since when it runs.

On Linux only, from `/proc`; elsewhere, and for processes of other users, only what is known is
said.
"""

import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

_LOCK_LINE = re.compile(r"^\d+: POSIX\s+\S+\s+WRITE (\d+) [0-9a-f]+:[0-9a-f]+:(\d+) ", re.MULTILINE)
_COMMAND_LENGTH = 120


def described(pid: int) -> str:
    """`process 4711 (python notebook.py, started 2026-11-28 03:12:00 UTC)`."""
    known = [text for text in (_command(pid), _started(pid)) if text]
    return f"process {pid}" + (f" ({', '.join(known)})" if known else "")


def locked_by(*paths: Path) -> list[int]:
    """The other processes that hold a write lock on one of `paths`; none if that cannot be told."""
    inodes = set()
    for path in paths:
        try:
            inodes.add(path.stat().st_ino)
        except OSError:
            continue
    try:
        locks = Path("/proc/locks").read_text()
    except OSError:
        return []
    found = {int(pid) for pid, inode in _LOCK_LINE.findall(locks) if int(inode) in inodes}
    return sorted(found - {os.getpid()})


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    command = b" ".join(words).decode(errors="replace").strip()
    command = " ".join(command.split())
    return command if len(command) <= _COMMAND_LENGTH else f"{command[:_COMMAND_LENGTH]}…"


def _started(pid: int) -> str:
    """When the process started, by its age in clock ticks since the machine started."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return ""
    age = uptime - int(stat[19]) / os.sysconf("SC_CLK_TCK")
    return f"started {datetime.fromtimestamp(time.time() - age, UTC):%Y-%m-%d %H:%M:%S} UTC"
