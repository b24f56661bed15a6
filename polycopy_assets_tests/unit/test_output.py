"""A pipe that breaks: of the output it is the end in silence, of anything else an error."""

import errno
import os
import signal
import subprocess
import sys

import click
from click.testing import CliRunner

from polycopy_assets.cli import Commands

BROKEN = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def test_a_connection_that_breaks_is_an_error_and_not_the_end_of_the_output():
    @click.command
    def work() -> None:
        raise BROKEN

    done = CliRunner().invoke(Commands("polycopy", commands={"work": work}), ["work"])
    assert done.exit_code == 1
    assert str(done.exception) == "a connection broke: Broken pipe"


def test_a_command_ends_by_sigpipe_when_its_reader_has_gone():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        command = [sys.executable, "-m", "polycopy_assets", "--version"]
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
