"""Commands in an unpacked image on a machine where podman may not: one without cgroups of its own.

A container that runs in a container often gets its cgroups read-only. podman and runc then start
nothing at all, with or without a limit. What is left is what they do apart from that: namespaces, a
read-only file system, an account without rights. The memory is measured instead of limited.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

_LOOPBACK_UP = """
import fcntl, socket, struct
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
"""
_ENTER = """
set -e
"$1" -c "$2"; shift 2
root=$1; shift
mount --bind "$root" "$root"
mount --bind "$1" "$root/scratch"; shift
mount -o remount,bind,ro "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
cd /
exec setpriv --no-new-privs unshare --root "$root" --wd /scratch --setgid 10001 --setuid 10001 \
  /usr/bin/env -i "$@"
"""

PEAK = '''
import os, subprocess, sys, time
from pathlib import Path

def resident():
    """Of all processes but this one together: what each of them used at most so far, in kB."""
    total = 0
    for each in Path("/proc").glob("[0-9]*"):
        if int(each.name) != os.getpid():
            try:
                lines = (each / "status").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
            total += sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return total

running, peak = subprocess.Popen(sys.argv[1:]), 0
while running.poll() is None:
    peak = max(peak, resident())
    time.sleep(0.02)
print(peak * 1024)
sys.exit(running.returncode)
'''
"""For `python3 -c`: runs what follows, then prints the most memory that it used, in bytes."""


def command_in(
    root: Path, scratch: Path, environ: Iterable[str], command: Iterable[str]
) -> list[str]:
    """The command line that runs a command in the image unpacked at `root`, as user 10001.

    It sees no network but 127.0.0.1, no other process, and may write nowhere but below `scratch`.
    `environ` has texts like `HOME=/scratch`: its whole environment.
    """
    return [
        *("unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child"),
        *("sh", "-c", _ENTER, "sh", sys.executable, _LOOPBACK_UP),
        *(str(root), str(scratch), *environ, *command),
    ]
