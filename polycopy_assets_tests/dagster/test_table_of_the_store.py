"""What is called complete is in the table, and the table is this store's."""

import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from polycopy_assets.batches.combine import combine_all
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.pipeline import combine as recombine
from polycopy_assets.store.identity import NAME, new_id, read_id
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
from polycopy_assets_tests.deployment import Deployed, Deployment, new_trades, sample_api, truth

pytestmark = pytest.mark.exhaustive

Scene = tuple[World, Deployment, Served]


def filled(root: Path, api: Served, wallets: Sequence[str]) -> Deployment:
    """A deployment of its own with all trades of these wallets loaded."""
    root.mkdir(exist_ok=True)
    deployment = Deployment(root, api.url)
    deployment.want(wallets)
    deployment.backfill()
    return deployment


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    world = generate(61, 5, whales=1, whale_trades=120, most_trades=20)
    with sample_api(world, lag_seconds=int(time.time()) - LAST - 700) as api:
        deployment = filled(tmp_path / "a", api, world.wallets())
        api.state.counts.reset()
        yield world, deployment, api


# -- rows that are gone -------------------------------------------------------------------------


@pytest.mark.parametrize("statement", ["DROP TABLE trades", "DELETE FROM trades"])
def test_a_table_that_was_dropped_or_emptied_is_loaded_again(scene: Scene, statement: str):
    """It used to stay empty for ever, and every backfill said that all was complete."""
    world, deployment, api = scene
    deployment.execute(statement)
    assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(world)
    assert not api.state.counts.requests


def test_rows_that_somebody_deleted_are_told_until_they_are_back(scene: Scene):
    """The check told of them once, after a load; the next backfill ended with exit code 0."""
    world, deployment, api = scene
    deployment.execute("DELETE FROM trades WHERE id IN (SELECT id FROM trades LIMIT 3)")
    for _ in range(2):
        code, said = deployment.here("backfill", "--json")
        (check,) = json.loads(said)["failed_checks"]
        assert code == 1
        assert f"{truth(world).total():,} were loaded into it" in check
        assert "`polycopy reconcile --apply` loads them again" in check
    assert not api.state.counts.requests
    assert deployment.here("reconcile", "--apply")[0] == 0
    assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(world)


def test_rows_that_were_deleted_before_a_load_are_told_by_the_next_one_as_well(scene: Scene):
    world, deployment, api = scene
    deployment.execute("DELETE FROM trades WHERE id IN (SELECT id FROM trades LIMIT 3)")
    api.state.lag_seconds = 0
    world.add(new_trades(world.wallets()[0].lower(), LAST + 500, 7))
    assert "rows_match_record" in deployment.backfill(refresh=True).failed_checks[0]
    assert deployment.here("backfill")[0] == 1
    assert deployment.here("reconcile", "--apply")[0] == 0
    assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(world)


def test_rows_of_others_are_not_missed_and_not_counted_for_ours(scene: Scene):
    _, deployment, _ = scene
    deployment.execute("INSERT INTO trades (wallet_address, id) VALUES ('0xother', 'x')")
    assert deployment.here("backfill")[0] == 0


# -- a table of another store -------------------------------------------------------------------


def refused(deployment: Deployment, *command: str) -> str:
    """What the command says, in one line, when it ends with exit code 2."""
    done = deployment.polycopy(*command)
    assert done.returncode == 2, (command, done.stderr)
    (line,) = done.stderr.strip().splitlines()
    assert "is not the table of this store" in line
    return line


@pytest.mark.parametrize("before", [False, True], ids=["", "from before there were ids"])
def test_a_table_of_another_store_is_refused_before_anything_is_fetched(
    tmp_path: Path,
    before: bool,  # noqa: FBT001
):
    """Batch numbers alone were believed: all complete, and none of these trades in the table."""
    world = generate(62, 12, whales=1, whale_trades=90, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    ours, others = wallets[:5], wallets[5:]
    with sample_api(world) as api:
        deployment = filled(tmp_path / "a", api, ours)
        theirs = filled(tmp_path / "b", api, others)
        api.state.counts.reset()
        refused_until_it_is_accepted(deployment, theirs, api, before=before)
        assert deployment.backfill().errors == []
        assert deployment.table() == truth(world)
        assert deployment.feed_table.held().store == read_id(deployment.store)
        refused(theirs, "backfill")


def refused_until_it_is_accepted(
    deployment: Deployment, theirs: Deployment, api: Served, *, before: bool
) -> None:
    """Points `deployment` at the table of `theirs`."""
    table = theirs.table()
    ids = [read_id(theirs.store), read_id(deployment.store)]
    if before:
        theirs.execute("ALTER TABLE polycopy_batches DROP COLUMN store")
        ids[0] = "unknown"
    deployment.environ["POLYCOPY_WAREHOUSE"] = theirs.environ["POLYCOPY_WAREHOUSE"]
    for command in (
        ["backfill"],
        ["backfill", "--refresh"],
        ["status"],
        ["reconcile"],
        ["reconcile", "--apply"],
        ["wallets", "add", "0x" + "ab" * 20],
    ):
        line = refused(deployment, *command)
        assert all(str(each) in line for each in ids)
        assert "`polycopy init --accept-table`" in line
    assert not api.state.counts.requests
    assert theirs.table() == table
    with deployment.instance():
        done = deployment.dagster(
            "job", "execute", "-m", "polycopy_assets.definitions", "-j", "load"
        )
    assert "is not the table of this store" in done.stderr
    assert theirs.table() == table
    assert theirs.here("backfill")[0] == 0, "it is theirs all the same"
    assert theirs.feed_table.held().store == read_id(theirs.store)
    assert deployment.here("init", "--accept-table")[0] == 0


def test_a_table_from_before_there_were_ids_is_taken_over_without_a_word(scene: Scene):
    world, deployment, api = scene
    deployment.execute("ALTER TABLE polycopy_batches DROP COLUMN store")
    for command in ("status", "reconcile"):
        assert deployment.here(command)[0] == 0
        assert deployment.feed_table.held().store is None, "who only looks changes nothing"
    assert deployment.here("backfill")[0] == 0
    assert deployment.feed_table.held().store == read_id(deployment.store)
    assert deployment.table() == truth(world)
    assert not api.state.counts.requests


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed in between"])
def test_a_table_goes_along_with_a_store_that_has_moved(
    scene: Scene,
    killed: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
):
    world, deployment, api = scene
    moved = new_id()
    (deployment.root / "store" / NAME).write_text(json.dumps({"id": moved}))

    def dies(*_: object) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        if killed:
            patch.setattr(DuckDBTable, "take_over", dies)
        deployment.here("init", "--accept-store")
    if killed:
        refused(deployment, "backfill")
        assert deployment.here("init", "--accept-table")[0] == 0
    assert deployment.here("backfill")[0] == 0
    assert deployment.feed_table.held().store == moved
    assert deployment.table() == truth(world)
    assert not api.state.counts.requests


def test_wallets_that_another_instance_of_the_same_store_has_recorded_are_no_strangers(
    scene: Scene, tmp_path: Path
):
    """Their rows were called rows that nothing knows, once, and the backfill ended with 1."""
    world, deployment, api = scene
    beside = Deployment(
        tmp_path / "beside",
        api.url,
        POLYCOPY_STORE=deployment.environ["POLYCOPY_STORE"],
    )
    (tmp_path / "beside").mkdir()
    beside.want(world.wallets())
    assert beside.here("reconcile", "--apply")[0] == 0
    newcomer = "0x" + "c" * 40
    world.add(new_trades(newcomer, LAST - 500, 8))
    world.add(new_trades(world.wallets()[0].lower(), LAST + 500, 7))
    beside.want([newcomer])
    assert beside.here("backfill")[0] == 0
    api.state.lag_seconds = 0
    report = deployment.backfill(refresh=True)
    assert (report.errors, report.failed_checks) == ([], [])


# -- a wallet that is in several batches --------------------------------------------------------


def test_the_check_says_what_is_recorded_of_a_wallet_that_is_combined_in_part(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    """It said that no row was recorded of it."""
    monkeypatch.setattr(recombine, "combine_all", partial(combine_all, rows=1200))
    world = generate(63, 1, whales=1, whale_trades=2500)
    wallet = world.wallets()[0].lower()
    with deployed(world, POLYCOPY_SEGMENT_BYTES="1") as (deployment, _):
        deployment.want([wallet])
        with deployment.instance() as instance:
            deployment.fetch(instance, wallets=[wallet])
        newest = max(deployment.store.list(f"trades/{wallet}/"), key=lambda item: item.name).name
        kept = deployment.store.read(newest)
        deployment.store.delete(newest)
        checks = deployment.backfill().failed_checks
    rows = deployment.feed_table.count_rows()
    recorded = len(world.truth(wallet))
    assert 0 < rows < recorded
    (check,) = [each for each in checks if "rows_match_record" in each]
    assert f"first {wallet}: {recorded:,} rows in the record, {rows:,} in the table" in check
    deployment.store.create(newest, kept)
    assert deployment.backfill().failed_checks == []
    assert deployment.table() == truth(world)
