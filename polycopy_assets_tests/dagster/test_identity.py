"""A store that is not the instance's: nothing is fetched into it, nothing is changed in it."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from polycopy_assets.automation.sensors import new_trades as new_trades_sensor
from polycopy_assets.automation.sensors import new_wallets
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.record import materializations, store_id
from polycopy_assets.record.partitions import register
from polycopy_assets.store.identity import NAME, read_id
from polycopy_assets_tests.days import refresh_asked, skipped, ticked
from polycopy_assets_tests.deployment import Deployment, new_trades, sample_api, truth
from polycopy_assets_tests.of_trades import record_in
from polycopy_assets_tests.stores import KINDS, deployed_on

pytestmark = pytest.mark.exhaustive

ELSEWHERE = {"local": "{root}/elsewhere", "gcs": "{store}-elsewhere"}
Scene = tuple[World, Deployment, Served]


@contextmanager
def filled(kind: str, root: Path) -> Iterator[Scene]:
    """A deployment with everything loaded, and trades that have come since."""
    world = generate(81, 5, most_trades=30)
    wallets = [wallet.lower() for wallet in world.wallets()]
    lag = int(time.time()) - LAST - 700
    with sample_api(world, lag_seconds=lag) as api, deployed_on(kind, root, api.url) as deployment:
        deployment.want(wallets)
        deployment.backfill()
        api.state.lag_seconds = 0
        world.add(new_trades(wallets[0], LAST + 500, 7))
        api.state.counts.reset()
        yield world, deployment, api


def mistype(kind: str, deployment: Deployment) -> str:
    """Sets a store that is another, and empty; what it is."""
    store = deployment.environ["POLYCOPY_STORE"]
    wrong = ELSEWHERE[kind].format(root=deployment.root, store=store)
    deployment.environ["POLYCOPY_STORE"] = wrong
    return wrong


def forget(deployment: Deployment) -> None:
    """As a version before this one left it: no id in the instance, and none in the table."""
    deployment.execute("UPDATE polycopy_batches SET store = NULL")
    with deployment.instance() as instance:
        instance.daemon_cursor_storage.set_cursor_values({store_id._KEY: ""})


def objects(deployment: Deployment) -> list[str]:
    """The names of all that a listing of the store can find."""
    store = deployment.store
    return [item.name for at in ("trades/", "combined/", "quarantine/") for item in store.list(at)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_command_fetches_or_makes_anything_in_another_store(tmp_path: Path, kind: str):
    with filled(kind, tmp_path) as (world, deployment, api):
        right, kept = deployment.environ["POLYCOPY_STORE"], read_id(deployment.store)
        wrong = mistype(kind, deployment)
        for command in (
            ["backfill"],
            ["backfill", "--refresh"],
            ["status"],
            ["reconcile"],
            ["reconcile", "--apply"],
            ["wallets", "add", "0x" + "ab" * 20],
        ):
            assert deployment.here(*command)[0] == 2, command
        done = deployment.polycopy("backfill", "--refresh")
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        for part in (wrong, f"should be {kept}", "id is none", "polycopy init --accept-store"):
            assert part in done.stderr
        assert not api.state.counts.log
        assert not (tmp_path / "elsewhere").exists()
        if kind == "gcs":
            client = deployment.gcs.client()  # type: ignore[attr-defined]
            assert not list(client.list_blobs(deployment.name, prefix="pre-elsewhere"))  # type: ignore[attr-defined]
        deployment.environ["POLYCOPY_STORE"] = right
        assert deployment.here("backfill", "--refresh")[0] == 0
        assert deployment.table() == truth(world)


@pytest.mark.parametrize("kind", KINDS)
def test_no_run_and_no_sensor_touches_another_store(tmp_path: Path, kind: str):
    with filled(kind, tmp_path) as (_, deployment, api):
        wallet = "0x" + "cd" * 20
        with deployment.instance() as instance:
            known = next(iter(record_in(instance).versions()))
            register(instance, [wallet])
            # Something to load, too.
            instance.report_runless_asset_event(
                materializations.materialization(TRADES, wallet, "rows-1-0123456789abcdef", {})
            )
            wrong = mistype(kind, deployment)
            register(instance, ["0x" + "ef" * 20])
            for sensor in (new_wallets, new_trades_sensor):
                result = ticked(sensor, instance, deployment)
                assert not result.run_requests
                assert wrong in skipped(result)
            assert isinstance(refresh_asked(instance, deployment), dg.SkipReason)
        module = ("-m", "polycopy_assets.definitions")
        for command in (
            ("asset", "materialize", *module, "--select", "wallet_trades", "--partition", known),
            ("job", "execute", *module, "-j", "fetch"),
            ("job", "execute", *module, "-j", "load"),
        ):
            done = deployment.dagster(*command)
            assert done.returncode != 0
            assert "is not the store of this Dagster instance" in done.stderr, command
        assert not api.state.counts.log
        assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_deployment_from_before_gets_an_id_without_a_word(tmp_path: Path, kind: str):
    with filled(kind, tmp_path) as (world, deployment, api):
        forget(deployment)
        deployment.store.delete(NAME)
        assert deployment.here("status")[0] == 0
        assert read_id(deployment.store) is None, "who only looks changes nothing"
        assert deployment.here("backfill")[0] == 0
        with deployment.instance() as instance:
            assert store_id.kept_id(instance) == read_id(deployment.store) is not None
        assert not api.state.counts.log
        forget(deployment)
        mistype(kind, deployment)
        assert deployment.here("backfill", "--refresh")[0] == 2
        assert not api.state.counts.log
        assert deployment.table() != truth(world)


@pytest.mark.parametrize("damage", [b"", b'{"id": "x"}', b"\xff\xfe", b"[]", None])
def test_a_damaged_identity_is_made_again_where_the_segments_are(
    tmp_path: Path, damage: bytes | None
):
    with filled("local", tmp_path) as (_, deployment, api):
        kept, before = read_id(deployment.store), objects(deployment)
        path = tmp_path / "store" / NAME
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        assert deployment.here("backfill")[0] == 0
        assert read_id(deployment.store) == kept
        assert [name for name in objects(deployment) if "quarantine" not in name] == before
        assert not api.state.counts.log


def test_a_store_that_has_moved_is_accepted_by_one_command(tmp_path: Path):
    with filled("local", tmp_path) as (world, deployment, api):
        (tmp_path / "store" / NAME).write_text('{"id": "%s"}' % ("0" * 32))
        assert deployment.here("backfill", "--refresh")[0] == 2
        done = deployment.polycopy("init", "--accept-store")
        assert done.returncode == 0
        assert "0" * 32 in done.stderr
        assert not api.state.counts.log
        assert deployment.here("backfill", "--refresh")[0] == 0
        assert deployment.table() == truth(world)


def test_a_copy_of_the_store_is_the_same_store(tmp_path: Path):
    with filled("local", tmp_path) as (world, deployment, _):
        shutil.copytree(tmp_path / "store", tmp_path / "restored")
        deployment.environ["POLYCOPY_STORE"] = str(tmp_path / "restored")
        assert deployment.here("backfill", "--refresh")[0] == 0
        assert deployment.table() == truth(world)


def test_two_instances_share_a_store_and_one_that_lost_its_database_finds_it(tmp_path: Path):
    with filled("local", tmp_path) as (world, deployment, api):
        other = Deployment(tmp_path / "other", api.url, POLYCOPY_STORE=str(tmp_path / "store"))
        (tmp_path / "other").mkdir()
        other.want([wallet.lower() for wallet in world.wallets()])
        assert other.here("reconcile", "--apply")[0] == 0, "its record comes from the store"
        assert other.here("backfill", "--refresh")[0] == 0
        assert other.table() == truth(world)
        with deployment.instance() as one, other.instance() as two:
            assert store_id.kept_id(one) == store_id.kept_id(two) is not None
        deployment.lose_record()
        assert deployment.here("reconcile", "--apply")[0] == 0
        assert deployment.here("backfill", "--refresh")[0] == 0
        assert deployment.table() == truth(world)
