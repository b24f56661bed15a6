"""Wallets are found on the boards, by command; and the leaderboard is kept every day."""

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import redirect_stderr
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.assembly import build
from polycopy_assets.automation.schedules import daily_leaderboard
from polycopy_assets.boards.board import Asked
from polycopy_assets.boards.snapshot import PREFIX, Snapshot
from polycopy_assets.cli.runs import run_job, why_failed
from polycopy_assets.demo import boards
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import SOURCE, alone
from polycopy_assets.guard.lock import this_process
from polycopy_assets.guard.ours import OUR_TAGS, Job
from polycopy_assets.guard.working import Permit
from polycopy_assets.pipeline.leaderboard import Kept, SnapshotPorts, keep_snapshots
from polycopy_assets.record.partitions import registered
from polycopy_assets.resources.chosen import source_resource
from polycopy_assets.store.local import LocalStore
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.deployment import Deployed, Deployment

WORLD = generate(21, 25, most_trades=30)
HOSTILE = "\x1b[2Jowned\r\nfine \u202egnp"
ALL = ("wallets", "discover", "--window", "all")


def ranked(window: str = "all") -> list[str]:
    rows = boards.leaderboard(WORLD, window, "overall", "PNL")
    return [row["user_id"].lower() for row in rows]


def test_wallets_are_found_without_a_list_and_added_on_request(tmp_path: Path, deployed: Deployed):
    WORLD.names = {ranked()[0]: HOSTILE}
    with deployed(WORLD) as (deployment, served):
        before = sorted(tmp_path.rglob("*"))
        code, said = deployment.here(*ALL, "--top", "4", "--json")
        found = json.loads(said)
        assert (code, [each["wallet"] for each in found["wallets"]]) == (0, ranked()[:4])
        assert found["wallets"][0]["name"] == HOSTILE
        assert said.isascii()
        assert (found["new"], found["added"], found["ended"]) == (4, None, False)
        if deployment.settings.instance == "files":  # else the home is made to reach the database
            assert sorted(tmp_path.rglob("*")) == before, "looking creates nothing"
        code, said = deployment.here(*ALL, "--top", "2")
        assert (code, len(said.splitlines())) == (0, 3)
        assert "\x1b" not in said
        assert "\u202e" not in said
        assert "\\x1b[2Jowned\\r\\nfine \\u202egnp" in said

        added = deployment.polycopy(*ALL, "--top", "2", "--add")
        assert added.returncode == 0
        assert "2 wallets added. Next: `polycopy backfill`" in added.stderr
        assert json.loads(deployment.here("status", "--json")[1])["total"] == 2
        code, said = deployment.here(*ALL, "--top", "4", "--json", "--add")
        again = json.loads(said)
        assert [each["known"] for each in again["wallets"]] == [True, True, False, False]
        assert (again["new"], again["added"]) == (2, 2)

        deployment.here("wallets", "remove", ranked()[0])
        with redirect_stderr(io.StringIO()) as errors:
            assert deployment.here(*ALL, "--top", "4", "--add")[0] == 0
        assert "1 of them were not added, because `polycopy wallets remove`" in errors.getvalue()
        assert json.loads(deployment.here("status", "--json")[1])["total"] == 3

        nothing = deployment.polycopy(*ALL, "--category", "nope")
        assert (nothing.returncode, nothing.stdout) == (1, "")
        assert "does not know with an empty board: is it right?" in nothing.stderr
        refused = deployment.polycopy("wallets", "discover", "--market", "x", "--by", "pnl")
        assert refused.returncode == 2
        assert "leave out --window, --category, --by and --winners" in refused.stderr
        _waits_for_a_fetch(deployment, served)


def _waits_for_a_fetch(deployment: Deployment, served: Served) -> None:
    """While another process asks the source, a board is not asked for: one budget for both."""
    served.state.counts.reset()
    ended: list[int] = []
    thread = threading.Thread(
        target=lambda: ended.append(deployment.polycopy(*ALL, "--top", "1").returncode)
    )
    with (
        deployment.instance() as instance,
        alone(instance, this_process("a fetch"), SOURCE, lambda text: None),
    ):
        thread.start()
        time.sleep(3)
        assert not ended
        assert served.state.counts.board_arrivals == []
        freed = time.monotonic()
    thread.join(120)
    assert ended == [0]
    (asked,) = served.state.counts.board_arrivals
    assert asked - freed >= 1, "the requests of the other process still count for a second"


def test_the_leaderboard_is_kept_once_a_day_and_who_is_wanted_is_added(deployed: Deployed):
    WORLD.names = {ranked()[0]: HOSTILE}
    settings = {
        "POLYCOPY_LEADERBOARD": "all/pnl/overall/1000,all/volume/politics/5",
        "POLYCOPY_LEADERBOARD_WANTED": "3",
    }
    with deployed(WORLD, **settings) as (deployment, served), deployment.instance() as instance:
        metadata = kept(deployment, instance)
        politics = boards.leaderboard(WORLD, "all", "politics", "VOLUME")[:5]
        volume = [row["user_id"].lower() for row in politics]
        rows = deployment.rows(
            "SELECT sort_by, rank, wallet_address, user_name FROM leaderboard"
            " ORDER BY sort_by, rank"
        )
        assert [row[2] for row in rows] == [*ranked(), *volume]
        assert rows[0] == ("pnl", 1, ranked()[0], HOSTILE)
        table = metadata["first"]
        assert isinstance(table, dg.TableMetadataValue)
        assert "\\x1b[2Jowned" in str(table.records[0].data["name"])
        wanted = {*ranked()[:3], *volume[:3]}
        assert set(deployment.warehouse.traders()) == set(registered(instance)) == wanted
        assert metadata["wallets_added"].value == len(wanted)

        served.state.counts.reset()
        kept(deployment, instance)
        assert served.state.counts.board_arrivals == [], "the day has its snapshots"
        deployment.execute("DROP TABLE leaderboard")
        kept(deployment, instance)
        assert served.state.counts.board_arrivals == []
        again = deployment.rows(
            "SELECT sort_by, rank, wallet_address, user_name FROM leaderboard"
            " ORDER BY sort_by, rank"
        )
        assert again == rows

        served.state.down = True
        failed = run_job(
            instance, deployment.settings, Job.LEADERBOARD, {"boards": "day/pnl/x/9"}, Progress()
        )
        assert not failed.success
        assert "the source's clock" in why_failed(failed)
        assert len(list(deployment.store.list(PREFIX))) == 2
        _scheduled(deployment, instance)


def kept(deployment: Deployment, instance: dg.DagsterInstance) -> dict[str, dg.MetadataValue]:
    """What a run of the job says."""
    result = run_job(instance, deployment.settings, Job.LEADERBOARD, {}, Progress())
    assert result.success, why_failed(result)
    (event,) = result.asset_materializations_for_node("leaderboard")
    return dict(event.metadata)


def _scheduled(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    assert daily_leaderboard.default_status == dg.DefaultScheduleStatus.STOPPED
    definitions = build(deployment.settings)

    def ticked() -> dg.RunRequest | dg.SkipReason:
        with dg.build_schedule_context(instance, resources=definitions.resources) as context:
            found = daily_leaderboard(context)
        assert isinstance(found, dg.RunRequest | dg.SkipReason)
        return found

    assert isinstance(ticked(), dg.RunRequest)
    run = instance.create_run_for_job(
        definitions.resolve_job_def("leaderboard_snapshot"),
        status=dg.DagsterRunStatus.STARTED,
        tags=dict(OUR_TAGS),
    )
    assert ticked() == dg.SkipReason(f"run {run.run_id} is still reading the board")
    instance.report_run_canceled(run)


# -- killed -------------------------------------------------------------------------------------


class Doomed:
    """A store, a table and an adder of wallets, at one of whose steps the process is killed."""

    STEPS = ("asked", "created", "wanted", "loading", "loaded", "never")

    def __init__(self, root: Path, url: str, step: str) -> None:
        self._step = step
        self._added = root / "added"
        self._store = LocalStore(root / "store")
        self._table = DuckDBWarehouse(root / "w.duckdb")
        deployment = Deployment(root, url)
        self._source = source_resource(deployment.settings)
        self.create, self.list, self.read = self._create, self._store.list, self._store.read
        self.held = self._table.boards.held

    def run(self) -> Kept:
        permit = Permit(lambda: None, float("inf"))
        ports = SnapshotPorts(
            store=self,  # type: ignore[arg-type]
            table=self,
            open_boards=self._source.boards(Progress(), permit),
            want=self._want,
            check=lambda: None,
        )
        return keep_snapshots([Asked(window="all", top=1000)], 2, ports)

    def load(self, snapshot: Snapshot) -> None:
        self._die("loading")
        self._table.boards.load(snapshot)
        self._die("loaded")

    def _create(self, name: str, data: bytes) -> None:
        self._die("asked")
        self._store.create(name, data)
        self._die("created")

    def _want(self, wallets: Collection[str]) -> int:
        known = set(self._added.read_text().split()) if self._added.exists() else set[str]()
        self._added.write_text(" ".join(sorted(known | set(wallets))))
        self._die("wanted")
        return len(set(wallets) - known)

    def _die(self, step: str) -> None:
        if step == self._step:
            os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[], object]) -> bool:
    """Runs `work` in a process of its own; whether it was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize("step", Doomed.STEPS)
def test_a_kill_at_any_step_leaves_neither_a_gap_nor_a_second_row(
    tmp_path: Path, deployed: Deployed, step: str
):
    with deployed(WORLD) as (deployment, served):
        assert killed(Doomed(tmp_path, served.url, step).run) == (step != "never")
        served.state.counts.reset()
        done = Doomed(tmp_path, served.url, "never").run()
        assert len(served.state.counts.board_arrivals) == (1 if step == "asked" else 0)
        (item,) = deployment.store.list(PREFIX)
        assert [each.name for each in done.loaded] == (
            [] if step in ("loaded", "never") else [item.name]
        )
        rows = DuckDBWarehouse(tmp_path / "w.duckdb").boards
        assert len(rows.held()) == 1
        file = Deployment(tmp_path, served.url, POLYCOPY_WAREHOUSE=str(tmp_path / "w.duckdb"))
        found = file.rows("SELECT wallet_address FROM leaderboard ORDER BY rank")
        assert [row[0] for row in found] == ranked()
        assert (tmp_path / "added").read_text().split() == sorted(ranked()[:2])


def test_the_day_is_that_of_the_source_whatever_the_clock_of_this_machine_says(
    tmp_path: Path, deployed: Deployed
):
    """Here the source's clock is moved; on a machine with a wrong one it is the other way round."""
    with deployed(WORLD) as (deployment, served):
        for days, lacking in ((0, True), (1, True), (0, False), (-1, True)):
            served.state.freshness.date_offset = days * 86_400
            done = Doomed(tmp_path, served.url, "never").run()
            today = (datetime.now(UTC) + timedelta(days=days)).date()
            assert [snapshot.key.day for snapshot in done.taken] == [today] * lacking
            assert [key.day for key in done.there] == [today] * (not lacking)
            assert done.requests == 1 + lacking
        assert len(list(deployment.store.list(PREFIX))) == 3
