"""Another host on this machine: name spaces for the network, process ids and the host name.

A host has a loopback of its own and no way out, but for the ports that are let through to this
machine's loopback: over sockets in the file system, which name spaces of the network do not divide.
As a module it is what runs in a new host: `python -m … PORT:SOCKET… -- COMMAND…`.
"""

import fcntl
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from polycopy_assets_tests.spaces import OWN_HOST, within

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1


@contextmanager
def let_through(folder: Path, ports: Sequence[int]) -> Iterator[list[str]]:
    """Sockets in `folder` that lead to these ports of this machine's loopback: `PORT:SOCKET`."""
    ways = []
    listeners = []
    for port in ports:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(folder / str(port)))
        listener.listen(64)
        listeners.append(listener)
        _serve(listener, ("127.0.0.1", port))
        ways.append(f"{port}:{folder / str(port)}")
    try:
        yield ways
    finally:
        for listener in listeners:
            listener.close()


def start(
    name: str, ways: Sequence[str], command: Sequence[str], environ: Mapping[str, str], root: Path
) -> subprocess.Popen[str]:
    """Starts `command` on a new host called `name`; killing the process ends the whole host."""
    host = ["sh", "-c", f'hostname {name}; exec "$@"', "sh"]
    inside = [sys.executable, "-m", __name__, *ways, "--", *command]
    return subprocess.Popen(
        [*within(OWN_HOST), *host, *inside],
        env={**environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _serve(listener: socket.socket, to: tuple[str, int] | str) -> None:
    def accept() -> None:
        with suppress(OSError):  # closed: the end
            while True:
                _connect(listener.accept()[0], to)

    threading.Thread(target=accept, daemon=True).start()


def _connect(near: socket.socket, to: tuple[str, int] | str) -> None:
    far = socket.socket(socket.AF_UNIX if isinstance(to, str) else socket.AF_INET)
    try:
        far.connect(to)
    except OSError:
        near.close()
        far.close()
        return
    for one, other in ((near, far), (far, near)):
        threading.Thread(target=_copy, args=(one, other), daemon=True).start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(control, _GET_FLAGS, asked))[1]
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP))


def _main(arguments: list[str]) -> int:
    _loopback_up()
    end = arguments.index("--")
    for way in arguments[:end]:
        port, _, path = way.partition(":")
        _serve(socket.create_server(("127.0.0.1", int(port))), path)
    return subprocess.run(arguments[end + 1 :], check=False).returncode


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
