"""Makes `NAME.tar.xz`: a home, store and table as an older version wrote them.

    python -m polycopy_assets_tests.data.make_old_home CHECKOUT NAME

CHECKOUT is a checkout of the older version, and it is run with this interpreter:

- `first-version`: the version before the one reading of a row (`trades/shapes.py` did not exist);
- `before-packages`: the version before the packages (`turns.py` and `liveness.py` stood at the top,
  and `guard/` did not exist);
- `before-compaction`: the version before segments were compacted (`fetch/compaction.py` did not
  exist).

The sample API is today's: it serves the wallets of `polycopy_assets_tests.old_home`.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from polycopy_assets.demo.faults import Faults
from polycopy_assets.demo.server import Served, serve
from polycopy_assets.demo.state import State
from polycopy_assets.demo.world import World
from polycopy_assets_tests.data.pack import HOST, pack
from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.old_home import (
    FEED_ENDED,
    MONTHS,
    OLD_JOB_ENDED,
    cast,
    odd_wallets,
    old_world,
    world_before_compaction,
    world_before_packages,
)
from polycopy_assets_tests.old_job import OldJob, old_file

HERE = Path(__file__).parent
_MAIN = f"""
import socket
socket.gethostname = lambda: {HOST!r}
from polycopy_assets.__main__ import main
main()
"""


class OldVersion:
    """The commands of the older version in `checkout`, on a deployment in `folder`."""

    def __init__(self, checkout: str, folder: str, served: Served, **settings: str) -> None:
        self.folder = Path(folder)
        self.served = served
        self._environ = {
            **os.environ,
            "PYTHONPATH": checkout,
            "POLYCOPY_SOURCE_URL": served.url,
            "POLYCOPY_RATE_LIMIT": "100000/1",
            "POLYCOPY_STORE": "store",
            "POLYCOPY_WAREHOUSE": "warehouse.duckdb",
            "DAGSTER_HOME": f"{folder}/dagster",
            **settings,
        }

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """A command that runs."""
        command = [sys.executable, "-c", _MAIN, *args]
        return subprocess.Popen(command, env=self._environ, cwd=self.folder)

    def polycopy(self, *args: str, code: int = 0) -> None:
        """A command, run to its end; asserts its exit code."""
        ended = self.start(*args).wait()
        assert ended == code, f"{args} ended with {ended}, not {code}"

    def feed_ends(self, moment: int) -> None:
        """From now on the feed has nothing newer than `moment` (epoch seconds)."""
        self.served.state.lag_seconds = int(time.time()) - moment


def first_version(old: OldVersion, world: World) -> None:
    """Two rounds that end well, and wallets with odd rows that could not be combined."""
    odd = odd_wallets(world)
    old.served.state.lag_seconds = 86_400
    old.polycopy("wallets", "add", *(wallet for wallet in world.wallets() if wallet not in odd))
    old.polycopy("backfill")
    old.served.state.lag_seconds = 5
    old.polycopy("backfill", "--refresh")
    old.served.state.faults.set_wallets(odd)
    old.polycopy("wallets", "add", *odd)
    old.polycopy("backfill", code=1)


def before_packages(old: OldVersion, world: World) -> None:
    """Files taken over, failures, several segments and batches, and a run that was killed."""
    cast_, faults = cast(world), old.served.state.faults
    _write_old_job(old, world)
    old.feed_ends(FEED_ENDED[0])
    faults.set_wallets({cast_.failed_first: "missing_field"})
    others = [w for w in world.wallets() if w.lower() not in (*cast_.taken_over, cast_.refuted)]
    old.polycopy("wallets", "add", *others)
    old.polycopy("backfill", code=1)
    faults.set_wallets({})
    old.polycopy("reconcile", code=1)
    old.polycopy("reconcile", "--apply")
    old.feed_ends(FEED_ENDED[1])
    old.polycopy("backfill", "--refresh")
    old.feed_ends(FEED_ENDED[2])
    faults.set_wallets({cast_.failed_last: "400"})
    old.polycopy("backfill", "--refresh", code=1)
    faults.set_wallets({})
    old.polycopy("reconcile", "--apply")
    old.polycopy("reconcile")
    _kill_while_it_asks(old, "backfill", "--refresh")
    old.polycopy("status")


def before_compaction(old: OldVersion, world: World) -> None:
    """A refresh a month: a segment for each wallet and month, most of them without trades."""
    old.polycopy("wallets", "add", *world.wallets())
    for month in MONTHS:
        old.feed_ends(month)
        old.polycopy("backfill", "--refresh")


def _write_old_job(old: OldVersion, world: World) -> None:
    """Two files with what the checkpoint says of them, and one that lacks a row."""
    cast_ = cast(world)
    job = OldJob(Deployment(old.folder, old.served.url))
    for wallet in (*cast_.taken_over, cast_.refuted):
        trades = [trade for trade in world.truth(wallet) if trade.timestamp < OLD_JOB_ENDED]
        job.put(wallet, old_file(trades[1:] if wallet == cast_.refuted else trades))
        job.tick(wallet, len(trades), at=OLD_JOB_ENDED, file=f"gs://old-job/trades/{wallet}.jsonl")
    job.write()


def _kill_while_it_asks(old: OldVersion, *args: str) -> None:
    """Kills a command when its first trade requests are on the way: nothing new is stored."""
    state = old.served.state
    state.latency, before = 600.0, state.counts.trade_requests
    process = old.start(*args)
    while state.counts.trade_requests == before:
        assert process.poll() is None, "it ended before it asked for trades"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


SCENARIOS: dict[str, tuple[Callable[[], World], Callable[[OldVersion, World], None]]] = {
    "first-version": (old_world, first_version),
    "before-packages": (world_before_packages, before_packages),
    "before-compaction": (world_before_compaction, before_compaction),
}


def main() -> None:
    """Writes the archive."""
    checkout, name = sys.argv[1:]
    make_world, scenario = SCENARIOS[name]
    world = make_world()
    # The first version knows no such setting; to the others the feed trails by years.
    settings = {} if name == "first-version" else {"POLYCOPY_MAX_LAG": "1000000000"}
    with tempfile.TemporaryDirectory() as folder, serve(State(world, Faults())) as served:
        scenario(OldVersion(checkout, folder, served, **settings), world)
        machine = {checkout: "/polycopy", sys.prefix: "/venv", sys.base_prefix: "/python"}
        pack(Path(folder), HERE / f"{name}.tar.xz", {folder: "/deployment", **machine})


if __name__ == "__main__":
    main()
