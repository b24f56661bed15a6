"""A fetch that is killed at a certain place of its code, as a process of its own."""

import json
import signal
import subprocess
import sys

from polycopy_assets_tests.deployment import Deployment

_DIE = """
import os, signal, sys

def die(*args, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def after(owner, name, calls):
    real, count = getattr(owner, name), [0]
    def called(*args, **options):
        result = real(*args, **options)
        count[0] += 1
        if count[0] == calls:
            die()
        return result
    setattr(owner, name, called)
"""
_BY_DAGSTER = """
from dagster._cli import main
sys.argv = ["dagster", *sys.argv[1:]]
main()
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


def killed_fetch(deployment: Deployment, kill: str, **config: object) -> None:
    """The job `fetch` with this configuration, by Dagster's own command, killed at `kill`.

    The code `kill` may use `die`, and `after(owner, name, calls)`: die after so many calls of it.
    Without a database there is no such command: then the job is run as a command of ours does it.
    """
    if deployment.settings.instance == "ephemeral":
        first = _DIE + kill + _BY_COMMAND.format(config=config)
        done = deployment.polycopy("status", first=first)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        return
    ops = {"ops": {"wallet_trades": {"config": config}}}
    (deployment.root / "fetch.json").write_text(json.dumps(ops))
    ended = subprocess.run(
        [sys.executable, "-c", _DIE + kill + _BY_DAGSTER, *_JOB],
        env=deployment.process_environ(),
        cwd=deployment.root,
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
