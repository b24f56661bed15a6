"""Processes in name spaces of their own: as in another container, on this machine."""

import functools
import shutil
import subprocess

import pytest

HERE = "here"
ANOTHER_HOST = "another host name"
OWN_PROCESSES = "its own process ids"
OWN_HOST = "its own network, process ids and host name"

_COMMANDS: dict[str, tuple[str, ...]] = {
    ANOTHER_HOST: ("unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh"),
    OWN_PROCESSES: ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
    OWN_HOST: ("unshare", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"),
}


_AS_ORDINARY_USER = ("--user", "--map-root-user")
"""Makes `unshare` need no privilege, where the kernel lets ordinary users make name spaces."""


def within(space: str) -> tuple[str, ...]:
    """What stands before a command that is to run in `space`; skips the test where none can."""
    command, reason = _possible(space)
    if reason:
        pytest.skip(f"this machine lets nobody make a name space for {space}: {reason}")
    return command


@functools.cache
def _possible(space: str) -> tuple[tuple[str, ...], str]:
    """The command that makes `space`, privileged or not, and why none does."""
    if space == HERE:
        return (), ""
    if shutil.which("unshare") is None:
        return (), "unshare is not installed"
    unshare, *options = _COMMANDS[space]
    refusals = []
    for privilege in ((), _AS_ORDINARY_USER):
        command = (unshare, *privilege, *options)
        tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return command, ""
        refusals.append(tried.stderr.strip())
    return (), "; ".join(refusals)
