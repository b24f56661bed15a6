"""`polycopy dev`: Dagster's UI and daemon on this instance, store and table."""

import errno
import fcntl
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import click

from polycopy_assets.cli.common import Command, one_line_errors, say
from polycopy_assets.cli.dev_log import show_needed
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.resources.chosen import store_resource, warehouse_resource
from polycopy_assets.settings.environment import settings
from polycopy_assets.text import quoted

_TCP = socket.SOCK_STREAM
_LOCK = "dev.lock"
LOCATION = "polycopy_assets.definitions"
"""The name of the code location, the same as in `workspace.yaml`."""


@click.command(
    "dev",
    cls=Command,
    examples=(
        "polycopy dev",
        "polycopy dev --port 3001",
    ),
    page="docs/automation.md",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on.",
)
@click.option(
    "--port",
    metavar="N",
    default=3000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="The port to listen on.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show all that Dagster's processes say.")
def dev_command(*, host: str, port: int, verbose: bool) -> None:
    """Open Dagster's UI, and start its daemon.

    On the same instance, store and table as the other commands.

    Works in any directory: DAGSTER_HOME is set for it. Says when the UI is ready, and what fails;
    the log of a run is on its page. ^C ends it, and its runs. The UI has no login: keep it on
    loopback, or behind something that has one.
    """
    with one_line_errors():
        chosen = settings()
        if chosen.instance == "ephemeral":
            raise ConfigurationError(
                "POLYCOPY_INSTANCE=ephemeral keeps no record for a UI to show: unset it, or name a"
                " database"
            )
        url = check_free(host, port)
        store_resource(chosen)  # an extra that is missing is said here, not in the UI
        warehouse_resource(chosen)
        with open_instance(chosen, Needs.NOTHING):
            pass  # prepared before several processes use it
        hold_home(chosen.home)
        say(f"Starting Dagster's UI, at {url}, on {chosen.home} (^C ends it)")
        os.environ["DAGSTER_HOME"] = chosen.home
        sys.stdout.flush()
        if not verbose:
            show_needed()
        command = [sys.executable, "-m", "dagster", "dev", "-m", LOCATION]
        command += ["--host", host, "--port", str(port)]
        # Dagster takes SIGTERM for SIGINT, and a script's background jobs ignore that: nothing but
        # SIGKILL would end it, which leaves its children.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(sys.executable, command)  # noqa: S606 - every part is ours


def hold_home(home: str) -> None:
    """Keeps other `polycopy dev` from `home` until this process ends, whatever it becomes.

    Raises ConfigurationError if there is one: Dagster takes two daemons on one instance for a
    mistake, and says so minutes later, in a log.
    """
    lock = os.open(Path(home, _LOCK), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise ConfigurationError(
            f"`polycopy dev` runs on {home} already: use its UI, or end it first. A second daemon"
            " would start the same work again"
        ) from error
    os.set_inheritable(lock, True)  # noqa: FBT003 - it has no name


def check_free(host: str, port: int) -> str:
    """The URL of the UI there; raises ConfigurationError if this machine has no such address.

    Also if another process listens there: Dagster says so only in a log, long after this.
    """
    if not host.strip():
        raise ConfigurationError("--host is empty: name an address, for example 127.0.0.1")
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        tried = [_listened(*found) for found in socket.getaddrinfo(host, port, type=_TCP)]
    except socket.gaierror as error:
        raise ConfigurationError(f"--host {quoted(host)}: {error.strerror}") from error
    except UnicodeError as error:
        raise ConfigurationError(f"--host {quoted(host)} is no name of a machine") from error
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {where}: {error.strerror}. Choose another with --port"
        ) from error
    if not any(tried):
        raise ConfigurationError(f"--host {quoted(host)}: no address of this machine")
    return f"http://{where}"


def _listened(family: int, kind: int, protocol: int, _name: str, address: tuple[Any, ...]) -> bool:
    """Listens for a moment; False if this machine has no such address. Raises OSError."""
    try:
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:  # as the webserver does it
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        # A name may have several: `localhost` has one of IPv6 even where there is no IPv6.
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return False
        raise
    return True
