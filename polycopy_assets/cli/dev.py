"""`polycopy dev`: Dagster's UI and daemon on this instance, store and table."""

import os
import socket
import sys

import click

from polycopy_assets.cli.common import Command, one_line_errors, say
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings.environment import settings

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
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
def dev_command(*, host: str, port: int) -> None:
    """Open Dagster's UI, and start its daemon.

    On the same instance, store and table as the other commands.

    Works in any directory: DAGSTER_HOME is set for it. ^C ends it, and its runs. The UI has no
    login: keep it on loopback, or behind something that has one.
    """
    with one_line_errors():
        chosen = settings()
        if chosen.instance == "ephemeral":
            raise ConfigurationError(
                "POLYCOPY_INSTANCE=ephemeral keeps no record for a UI to show: unset it, or name a"
                " database"
            )
        _check_free(host, port)
        with open_instance(chosen, Needs.NOTHING):
            pass  # prepared before several processes use it
        say(f"Dagster's UI: http://{host}:{port} (^C ends it)")
        os.environ["DAGSTER_HOME"] = chosen.home
        sys.stdout.flush()
        command = [sys.executable, "-m", "dagster", "dev", "-m", LOCATION]
        command += ["--host", host, "--port", str(port)]
        os.execv(sys.executable, command)  # noqa: S606 - every part is ours


def _check_free(host: str, port: int) -> None:
    """Raises ConfigurationError if another process listens there: Dagster takes the next port."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}. Choose another with --port"
        ) from error
