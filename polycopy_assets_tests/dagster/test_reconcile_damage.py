"""Reconciliation of what broke off halfway, or was damaged in an odd place: nothing is lost."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.record import materializations
from polycopy_assets.record.private import runless
from polycopy_assets_tests.deployment import (
    Deployed,
    Deployment,
    new_trades,
    records_of,
    sample_api,
    truth,
)
from polycopy_assets_tests.of_trades import Directory, marker_name, wallet_prefix
from polycopy_assets_tests.old_job import OldJob, old_file

pytestmark = pytest.mark.exhaustive

DAY = 86_400


class Scene:
    """A deployment with everything fetched and loaded; `wallet` has trades."""

    def __init__(self, world: World, deployment: Deployment, api: Served) -> None:
        self.world = world
        self.deployment = deployment
        self.api = api
        wallets = [wallet.lower() for wallet in world.wallets()]
        self.wallet = next(wallet for wallet in wallets if world.truth(wallet))
        deployment.want(wallets)
        deployment.backfill()
        api.state.counts.reset()

    def segments(self) -> list[str]:
        """The names of the wallet's segments, oldest first."""
        return [item.name for item in self.deployment.store.list(wallet_prefix(self.wallet))]

    def settle(self, *options: str) -> None:
        """One reconciliation that acts settles everything, and the table is the truth."""
        told = self.deployment.reconcile("--apply", *options)
        assert told["left"] == {"consistent": len(told["findings"])}
        assert self.deployment.reconcile(*options)["counts"] == told["left"]
        assert self.deployment.table() == truth(self.world)

    def found(self, *options: str) -> str:
        """What a look finds of the wallet."""
        told = self.deployment.reconcile(*options, code=1)
        (item,) = [item for item in told["findings"] if item["wallet"] == self.wallet]
        return item["finding"]


@contextmanager
def fetched(tmp_path: Path, seed: int, **settings: str) -> Iterator[Scene]:
    world = generate(seed, 5, whales=1, whale_trades=600, most_trades=9)
    # Trades are served until shortly behind the last one: more can come later.
    with sample_api(world, lag_seconds=int(time.time()) - LAST - 700) as api:
        yield Scene(world, Deployment(tmp_path, api.url, **settings), api)


def refetched_but_not_loaded(scene: Scene) -> None:
    """A full refetch of the wallet, recorded, after which the process died."""
    with scene.deployment.instance() as instance:
        scene.deployment.fetch(instance, wallets=[scene.wallet], mode="full")


def test_a_segment_of_no_bytes_is_damaged_and_not_empty(tmp_path: Path):
    with fetched(tmp_path, 31) as scene:
        name = scene.segments()[0]
        (tmp_path / "store" / name).write_bytes(b"")
        scene.deployment.lose_record()
        scene.settle()
        assert set(scene.api.state.counts.requests) == {scene.wallet}


def test_a_ghost_that_lost_its_newest_segment_stays_one_until_that_is_fetched(tmp_path: Path):
    with fetched(tmp_path, 32, POLYCOPY_SEGMENT_BYTES="5000") as scene:
        names = scene.segments()
        assert len(names) > 2
        scene.deployment.store.delete(names[-1])
        environ = {"POLYCOPY_SOURCE_URL": f"{scene.api.url}/gone"}
        assert scene.deployment.polycopy("reconcile", "--apply", environ=environ).returncode == 1
        assert scene.found() == "ghost"
        scene.settle()


def test_segments_behind_what_is_recorded_are_recorded_without_a_request(tmp_path: Path):
    with fetched(tmp_path, 33) as scene:
        with scene.deployment.instance() as instance:
            before = records_of(instance, [scene.wallet])
        scene.api.state.lag_seconds = 0
        scene.world.add(new_trades(scene.wallet, LAST + 500, 7))
        scene.deployment.backfill(refresh=True)
        # As if the refresh had been killed before it could record the wallet.
        with scene.deployment.instance() as instance:
            version, metadata = before[0].version, before[0].metadata
            old = materializations.materialization(TRADES, scene.wallet, version, metadata)
            assert list(runless.write(instance, [old])) == [1]
        scene.api.state.counts.reset()
        assert scene.found() == "orphan"
        scene.settle()
        assert not scene.api.state.counts.requests


@pytest.mark.parametrize("policy", ["verified", "never"])
def test_a_full_refetch_that_died_before_it_was_recorded_is_no_loss(tmp_path: Path, policy: str):
    with fetched(tmp_path, 34) as scene:
        store, old = scene.deployment.store, scene.segments()
        scene.api.state.lag_seconds = 0
        with scene.deployment.instance() as instance:
            (before,) = records_of(instance, [scene.wallet])
        kept = {name: store.read(name) for name in old}
        refetched_but_not_loaded(scene)
        for name, data in kept.items():
            store.create(name, data)
        store.create(marker_name(scene.wallet), msgspec.json.encode(sorted(old)))
        with scene.deployment.instance() as instance:
            was = materializations.materialization(
                TRADES, scene.wallet, before.version, before.metadata
            )
            assert list(runless.write(instance, [was])) == [1]
        scene.api.state.counts.reset()
        assert scene.found("--adopt", policy) == "orphan"
        scene.settle("--adopt", policy)
        assert not scene.api.state.counts.requests
        scene.deployment.backfill(refresh=True)
        assert not set(old) & set(scene.segments())
        assert marker_name(scene.wallet) not in scene.segments()
        assert scene.deployment.table() == truth(scene.world)


def test_a_damaged_marker_of_a_full_refetch_is_named_and_holds_up_nobody(tmp_path: Path):
    with fetched(tmp_path, 35) as scene:
        marker = tmp_path / "store" / marker_name(scene.wallet)
        marker.write_bytes(b"")
        told = scene.deployment.reconcile(code=1)
        assert told["counts"] == {"refetching": 1, "consistent": 4}
        assert [item["text"] for item in told["refused"]] == [marker_name(scene.wallet)]
        scene.settle()
        assert not scene.api.state.counts.requests


def test_what_is_recorded_and_not_loaded_is_found_though_the_counts_agree(tmp_path: Path):
    with fetched(tmp_path, 36) as scene:
        # Another trade in the place of one that the source does not serve any more.
        served = scene.world._trades[scene.wallet]
        number = next(n for n, trade in enumerate(served) if not trade.dust)
        served[number] = msgspec.structs.replace(served[number], tx_hash="0x" + "ab" * 32)
        refetched_but_not_loaded(scene)
        scene.api.state.counts.reset()
        assert scene.found() == "unloaded"
        scene.settle()
        assert not scene.api.state.counts.requests


def test_one_row_lost_and_another_doubled_is_found(tmp_path: Path):
    with fetched(tmp_path, 37) as scene:
        ids = scene.deployment.rows(
            "SELECT id FROM trades WHERE wallet_address = @wallet ORDER BY id LIMIT 2",
            wallet=scene.wallet,
        )
        scene.deployment.execute("DELETE FROM trades WHERE id = @id", id=ids[0][0])
        scene.deployment.execute("INSERT INTO trades FROM trades WHERE id = @id", id=ids[1][0])
        assert scene.found() == "unloaded"
        scene.settle()


def test_rows_before_all_time_are_outside_of_every_claim(tmp_path: Path):
    with fetched(tmp_path, 38) as scene:
        scene.deployment.execute(
            "INSERT INTO trades (wallet_address, id, timestamp, source)"
            f" VALUES ('{scene.wallet}', 'x', TIMESTAMP '1969-12-31 23:59:59', 'somebody')"
        )
        assert scene.deployment.reconcile()["counts"] == {"consistent": 5}


def lose_manifests(store: Directory) -> None:
    shutil.rmtree(store.root / "combined")


def lose_the_first_manifest(store: Directory) -> None:
    next((store.root / "combined" / "manifests").glob("00000001.json")).unlink()


def lose_parts(store: Directory) -> None:
    shutil.rmtree(store.root / "combined" / "parts")
    (store.root.parent / "warehouse.duckdb").unlink()


def cut_a_part(store: Directory) -> None:
    next((store.root / "combined" / "parts").rglob("part-*.parquet")).write_bytes(b"PAR1")
    (store.root.parent / "warehouse.duckdb").unlink()


@pytest.mark.parametrize(
    "damage", [lose_manifests, lose_the_first_manifest, lose_parts, cut_a_part]
)
def test_batches_that_are_lost_are_made_again_from_the_store(
    tmp_path: Path, damage: Callable[[Directory], None]
):
    with fetched(tmp_path, 39) as scene:
        scene.api.state.lag_seconds -= 1000
        scene.world.add(new_trades(scene.wallet, LAST + 500, 7))
        scene.deployment.backfill(refresh=True)
        scene.api.state.counts.reset()
        damage(scene.deployment.store)  # type: ignore[arg-type]
        assert scene.found() == "unloaded"
        scene.settle()
        assert not scene.api.state.counts.requests
        scene.api.state.lag_seconds -= 1000
        scene.world.add(new_trades(scene.wallet, LAST + 2000, 5))
        scene.deployment.backfill(refresh=True)
        assert scene.deployment.table() == truth(scene.world), "a later batch was not loaded"
        (tmp_path / "warehouse.duckdb").unlink()
        scene.deployment.backfill()
        assert scene.deployment.table() == truth(scene.world), "the batches do not hold everything"


def test_an_old_file_of_young_trades_is_not_taken_for_an_empty_history(
    tmp_path: Path, deployed: Deployed
):
    world = generate(40, 20, most_trades=40)
    wallet = next(w.lower() for w in world.wallets() if len(world.truth(w)) > 3)
    with deployed(world) as (deployment, api):
        old, trades = OldJob(deployment), world.truth(wallet)
        first = trades[-1].timestamp
        old.put(wallet, old_file(trades))
        old.tick(wallet, len(trades), at=first + DAY // 2)
        old.write()
        # As if killed between the segment and its record: nobody has combined it either.
        taken = {"POLYCOPY_SOURCE_URL": f"{api.url}/gone"}
        deployment.polycopy("reconcile", "--apply", environ=taken)
        deployment.lose_record()
        shutil.rmtree(tmp_path / "store" / "combined", ignore_errors=True)
        deployment.reconcile("--apply")
        assert deployment.reconcile()["counts"] == {"consistent": 1}
        assert deployment.table() == truth(world, [wallet])
