"""Commands and fetches that are killed at a certain place of their code, as processes."""

import json
import signal

from polycopy_assets_tests.deployment import Deployment

DIE = """
import os, signal, sys

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def after(owner, name, calls=1, of=""):
    real, count = getattr(owner, name), [0]
    def called(*args, **options):
        result = real(*args, **options)
        count[0] += not of or any(str(arg).startswith(of) for arg in args)
        if count[0] == calls:
            die()
        return result
    setattr(owner, name, called)
"""
"""Code for `die`, and `after(owner, name, calls, of)`: die after so many calls of it.

With `of`, those with an argument that begins with it: without a database, a command also writes and
deletes objects of its lock, before all others.
"""

_BY_COMMAND = """
from polycopy_assets.cli.instance import open_instance
from polycopy_assets.cli.runs import run_job
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import Job
from polycopy_assets.settings.environment import settings

with open_instance(settings()) as instance:
    run_job(instance, settings(), Job.FETCH, {config!r}, Progress())
sys.exit("it was not killed")
"""
_JOB = ("job", "execute", "-m", "polycopy_assets.definitions", "-j", "fetch", "-c", "fetch.json")


def killed(deployment: Deployment, kill: str, *args: str) -> None:
    """The command with these arguments, killed at `kill`: code that may use what is in `DIE`."""
    done = deployment.polycopy(*args, first=DIE + kill)
    assert done.returncode == -signal.SIGKILL, done.stdout[-2000:] + done.stderr[-2000:]


def killed_fetch(deployment: Deployment, kill: str, **config: object) -> None:
    """The job `fetch` with this configuration, by Dagster's own command, killed at `kill`.

    Without a database there is no such command: then the job is run as a command of ours does it.
    """
    if deployment.settings.instance == "ephemeral":
        killed(deployment, kill + _BY_COMMAND.format(config=config), "status")
        return
    ops = {"ops": {"wallet_trades": {"config": config}}}
    (deployment.root / "fetch.json").write_text(json.dumps(ops))
    ended = deployment.dagster(*_JOB, first=DIE + kill)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
