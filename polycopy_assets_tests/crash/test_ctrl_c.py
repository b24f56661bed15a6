"""^C in a real terminal, at any moment: one line, and the next start goes on where this one was."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.guard.exclusive import SOURCE, WAREHOUSE
from polycopy_assets.guard.heartbeat import run_lock
from polycopy_assets.guard.instance_locks import FOLDER, instance_locks
from polycopy_assets.guard.lock import Locks, this_process
from polycopy_assets_tests.crash.redone import asked_again, stored_spans
from polycopy_assets_tests.deployment import Deployment, sample_api, truth
from polycopy_assets_tests.old_job import OldJob, old_file
from polycopy_assets_tests.terminal import Terminal, in_terminal

SAID = "polycopy: interrupted: start it again, it continues where it stopped"
S = dg.DagsterRunStatus
ENDS = {S.FAILURE, S.CANCELED}


class Scene:
    """A deployment and its source."""

    def __init__(self, deployment: Deployment, served: Served) -> None:
        self.deployment = deployment
        self.served = served
        self._own_lock = ""

    @property
    def locks(self) -> Locks:
        with self.deployment.instance() as instance:
            return instance_locks(instance)

    @contextmanager
    def slow(self, latency: float) -> Iterator[None]:
        self.served.state.latency = latency
        yield
        self.served.state.latency = 0.0

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Another process is at work, as far as the command can tell."""
        lock = self.locks.try_acquire(name, this_process("test"))
        assert lock is not None
        self._own_lock = name
        yield
        self._own_lock = ""
        lock.release()

    def interrupted(self, when: Callable[[Terminal], object], *command: str, presses: int = 1):
        """Starts the command, presses ^C at the moment `when`, and looks at what is left."""
        before, durable = len(self.served.state.counts.log), stored_spans(self.deployment)
        ended_before = set(self._runs())
        with in_terminal(self.deployment, *command) as terminal:
            when(terminal)
            assert terminal.runs, terminal.lines[-20:]
            shown = len(terminal.lines)
            for number in range(presses):
                time.sleep(0.05 if number else 0)
                terminal.press_ctrl_c()
            code = terminal.end()
            assert code == 130, (code, terminal.lines[-20:])
        bar = f"{command[0]} " if command[0] != "demo" else "backfill "
        progress = (bar, "  ")  # and the lines below it
        after = [line for line in terminal.lines[shown - 1 :] if not line.startswith(progress)]
        assert after[-1] == SAID, terminal.lines[-20:]
        assert [line for line in after if line not in terminal.lines[:shown]] == [SAID], after
        assert terminal.shown.count("interrupted") == 1
        assert asked_again(self.served.state.counts.log[before:], durable) == []
        new = {run: status for run, status in self._runs().items() if run not in ended_before}
        assert all(status in {S.SUCCESS, *ENDS} for status in new.values()), new
        self.assert_nothing_is_held()

    def _runs(self) -> dict[str, S]:
        with self.deployment.instance() as instance:
            return {run.run_id: run.status for run in instance.get_runs()}

    def ends(self, job: str) -> list[S]:
        """How the runs of a job have ended, the last first."""
        with self.deployment.instance() as instance:
            return [run.status for run in instance.get_runs(dg.RunsFilter(job_name=job))]

    def assert_nothing_is_held(self) -> None:
        files = (Path(self.deployment.settings.home) / FOLDER).glob("*")
        names = {SOURCE, WAREHOUSE, *map(run_lock, self._runs()), *(path.stem for path in files)}
        locks = self.locks
        held = [name for name in names if name != self._own_lock and locks.holder(name)]
        assert held == []
        with self.deployment.instance() as instance:
            for pool in (SOURCE, WAREHOUSE):
                info = instance.event_log_storage.get_concurrency_info(pool)
                assert info.active_run_ids == set(), f"the pool {pool} is not free"

    def step(self, name: str) -> Callable[[Terminal], None]:
        """The moment at which a step of a new run has begun."""
        before = set(self._runs())

        def begun(instance: dg.DagsterInstance) -> bool:
            return any(
                entry.step_key == name
                for run in instance.get_runs()
                if run.run_id not in before
                for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START)
            )

        def when(terminal: Terminal) -> None:
            with self.deployment.instance() as instance:
                terminal.until(lambda: begun(instance))

        return when

    def requests(self, count: int) -> Callable[[Terminal], None]:
        """The moment at which the command has asked for trades so often."""
        counts = self.served.state.counts
        wanted = counts.trade_requests + count
        return lambda terminal: terminal.until(lambda: counts.trade_requests >= wanted)


def importing(library: str) -> Callable[[Terminal], None]:
    """The moment at which the command has imported a library, and goes on importing."""
    return lambda terminal: terminal.until_loaded(library)


def shows(text: str) -> Callable[[Terminal], None]:
    """The moment at which the terminal shows a text."""
    return lambda terminal: terminal.until(lambda: text in terminal.shown)


@contextmanager
def scene(root: Path, world: World, **settings: str) -> Iterator[Scene]:
    with sample_api(world) as served:
        yield Scene(Deployment(root, served.url, **settings), served)


def test_a_backfill_goes_on_after_ctrl_c_at_any_moment(tmp_path: Path):
    world = generate(91, 60, whales=1, whale_trades=20_000)
    with scene(tmp_path, world, POLYCOPY_CONCURRENCY="4", POLYCOPY_SEGMENT_BYTES="100000") as at:
        at.deployment.want(world.wallets())

        def interrupted(when: Callable[[Terminal], object], presses: int = 1) -> None:
            at.interrupted(when, "backfill", presses=presses)

        interrupted(importing("pydantic_core"))
        interrupted(importing("duckdb"), 2)
        assert at.ends("fetch") == []
        with at.slow(0.2):
            interrupted(at.step("wallet_trades"))
            interrupted(at.requests(30))
            interrupted(at.requests(8), 5)
            assert at.ends("fetch")[0] in ENDS
            with at.locked(SOURCE):
                interrupted(shows("Waiting for"))
            assert at.ends("fetch")[0] in ENDS
        with at.locked(WAREHOUSE):
            interrupted(at.step("combined_trades"))
        interrupted(at.step("combined_trades"), 2)
        interrupted(at.step("trades"))
        assert at.ends("load")[0] in ENDS
        before = at.served.state.counts.trade_requests
        with in_terminal(at.deployment, "backfill") as terminal:
            assert terminal.end() == 0, terminal.lines[-20:]
        assert at.served.state.counts.trade_requests == before
    assert at.deployment.table() == truth(world)


def test_a_reconciliation_goes_on_after_ctrl_c_at_any_moment(tmp_path: Path):
    world = generate(92, 80, most_trades=40)
    filled = [wallet.lower() for wallet in world.wallets() if world.truth(wallet)]
    adopted, asked, known = filled[:20], filled[20:40], filled[40:]
    with scene(tmp_path, world, POLYCOPY_CONCURRENCY="2", POLYCOPY_ADOPT="verified") as at:
        at.deployment.want(known)
        at.deployment.backfill()
        at.deployment.execute("DELETE FROM trades WHERE price > 0.5")
        old = OldJob(at.deployment)
        for wallet in adopted:
            old.put(wallet, old_file(world.truth(wallet)))
        for wallet in [*adopted, *asked]:
            old.tick(wallet, len(world.truth(wallet)), at=LAST + 864_000)
        old.write()
        command = ("reconcile", "--apply")
        at.interrupted(importing("duckdb"), *command)
        with at.locked(SOURCE):
            at.interrupted(shows("Waiting for"), *command)
        at.interrupted(at.step("reconciliation"), *command, presses=2)
        with at.slow(0.3):
            at.interrupted(at.requests(6), *command)
            at.interrupted(at.requests(4), *command, presses=2)
        with at.locked(WAREHOUSE):
            at.interrupted(shows("Waiting for"), *command)
        assert len(at.ends("reconcile")) == 5
        assert set(at.ends("reconcile")) <= ENDS
        before, durable = len(at.served.state.counts.log), stored_spans(at.deployment)
        assert at.deployment.reconcile("--apply")["left"] == {"consistent": len(filled)}
        assert asked_again(at.served.state.counts.log[before:], durable) == []
    assert at.deployment.table() == truth(world, filled)


def test_a_demo_goes_on_after_ctrl_c_at_any_moment(tmp_path: Path):
    with scene(tmp_path, generate(1, 1)) as at:
        at.interrupted(importing("duckdb"), "demo")
        at.interrupted(shows("The sample API at"), "demo")
        at.interrupted(at.step("wallet_trades"), "demo")
        at.interrupted(at.step("wallet_trades"), "demo", presses=2)
        with at.locked(WAREHOUSE):
            at.interrupted(at.step("combined_trades"), "demo")
        at.interrupted(at.step("combined_trades"), "demo")
        with in_terminal(at.deployment, "demo") as terminal:
            assert terminal.end() == 0, terminal.lines[-20:]
        assert any(": nothing was fetched again" in line for line in terminal.lines)
