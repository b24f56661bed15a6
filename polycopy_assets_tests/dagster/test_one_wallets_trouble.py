"""What goes wrong with one wallet is that wallet's failure, whatever it is; the rest arrives."""

import json
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets import combine as combining
from polycopy_assets import record
from polycopy_assets.assets import wallet_trades as fetching
from polycopy_assets.definitions import build
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import World
from polycopy_assets.errors import StoreError, WarehouseError
from polycopy_assets.progress import Progress
from polycopy_assets.runs import Runs
from polycopy_assets.sources.polymarket import Polymarket
from polycopy_assets.store.local import LocalStore
from polycopy_assets.warehouse.duckdb import DuckDBWarehouse
from polycopy_assets_tests.deployment import Deployment, sample_api, truth


def unforeseen(what: str) -> Any:
    """An error that no code of ours foresees."""
    return ZeroDivisionError(what)


def world_and_wallet(seed: int) -> tuple[World, str, list[str]]:
    """A world of thirty wallets, one of them that has trades, and the others."""
    world = generate(seed, 30, whales=0, most_trades=30)
    wallet = next(each for each in world.wallets() if world.truth(each))
    return world, wallet.lower(), [each for each in world.wallets() if each != wallet]


def logged(deployment: Deployment, text: str) -> bool:
    """Whether the log of any run has `text`."""
    with deployment.instance() as instance:
        return any(
            text in entry.user_message
            for run in instance.get_runs()
            for entry in instance.all_logs(run.run_id)
        )


def test_an_error_that_nobody_foresaw_while_a_wallet_is_fetched_is_that_wallets_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world, wallet, others = world_and_wallet(51)
    page = Polymarket.page

    async def odd(self: Polymarket, asked: str, *args: Any) -> Any:
        if asked == wallet:
            raise unforeseen("what nobody foresaw")
        return await page(self, asked, *args)

    monkeypatch.setattr(Polymarket, "page", odd)
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url)
        deployment.want(world.wallets())
        report = deployment.backfill()
        (failure,) = report.failures
        assert failure.wallet == wallet
        assert failure.reason.startswith("internal: ZeroDivisionError at test_one_wallets_")
        assert report.errors == []
        assert deployment.table() == truth(world, others)
        assert logged(deployment, "Traceback"), "the traceback is nowhere to be found"
        monkeypatch.setattr(Polymarket, "page", page)
        assert deployment.backfill().failures == []
    assert deployment.table() == truth(world)


def test_an_error_that_nobody_foresaw_while_a_wallet_is_combined_leaves_out_that_wallet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world, wallet, others = world_and_wallet(52)
    frame = combining._frame

    def odd(found: Any) -> Any:
        read = list(found)
        if any(row.wallet.lower() == wallet for rows in read for row in rows.rows):
            raise unforeseen("what nobody foresaw")
        return frame(read)

    monkeypatch.setattr(combining, "_frame", odd)
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url)
        deployment.want(world.wallets())
        code, said = deployment.here("backfill", "--json")
        report = json.loads(said)
        assert (code, report["errors"], report["failures"]) == (1, [], [])
        (check,) = report["failed_checks"]
        assert wallet in check
        assert "ZeroDivisionError" in check
        assert deployment.table() == truth(world, others)
        assert logged(deployment, "Traceback"), "the traceback is nowhere to be found"
        monkeypatch.setattr(combining, "_frame", frame)
        served.state.counts.reset()
        assert deployment.here("backfill")[0] == 0
        assert served.state.counts.trade_requests == 0
    assert deployment.table() == truth(world)


def test_a_wallet_whose_old_segments_cannot_be_deleted_fails_alone_and_is_finished_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    error = StoreError("held by a retention policy")
    world, wallet, _ = world_and_wallet(53)
    delete = LocalStore.delete

    def held(self: LocalStore, name: str) -> None:
        if wallet in name:
            raise error
        delete(self, name)

    def full() -> Progress:
        progress = Progress()
        with deployment.instance() as instance:
            runs = Runs(lambda: build(deployment.settings, progress), progress)
            runs.fetch(instance, select="all", mode="full")
        return progress

    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url)
        deployment.want(world.wallets())
        deployment.backfill()
        monkeypatch.setattr(LocalStore, "delete", held)
        progress = full()
        ((failed, reason),) = progress.failures
        assert failed == wallet
        assert str(error) in reason
        assert progress.done == len(world.wallets()) - 1
        report = deployment.backfill()
        assert (report.remaining, report.failed_checks) == (1, []), "it is not over"
        assert deployment.table() == truth(world)
        monkeypatch.setattr(LocalStore, "delete", delete)
        report = deployment.backfill()
        assert (report.remaining, report.failures) == (0, [])
    assert deployment.table() == truth(world)
    assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}


def test_what_is_recorded_is_loaded_also_when_the_fetch_ended_badly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world, _, _ = world_and_wallet(54)
    charted = fetching._charted

    def breaking(outcomes: Any, progress: Progress) -> Any:
        for number, outcome in enumerate(charted(outcomes, progress)):
            if number == 3:
                raise unforeseen("the run itself breaks")
            yield outcome

    monkeypatch.setattr(fetching, "_charted", breaking)
    with sample_api(world) as served:
        served.state.faults.set_wallets({})
        deployment = Deployment(tmp_path, served.url)
        deployment.want(world.wallets())
        report = deployment.backfill()
        (error,) = report.errors
        assert "the fetch ended early" in error
        assert "the run itself breaks" in error
        assert report.complete == 3
        with deployment.instance() as instance:
            recorded = list(record.versions(instance))
        assert deployment.table() == truth(world, recorded)
        monkeypatch.setattr(fetching, "_charted", charted)
        assert deployment.backfill().errors == []
    assert deployment.table() == truth(world)


def test_wallets_that_failed_are_named_also_when_the_load_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world, wallet, _ = world_and_wallet(55)

    def broken(*_: Any) -> Any:
        raise WarehouseError("the table is broken")

    monkeypatch.setattr(DuckDBWarehouse, "load", broken)
    with sample_api(world) as served:
        served.state.faults.set_wallets({wallet: "404"})
        deployment = Deployment(tmp_path, served.url)
        deployment.want(world.wallets())
        code, said = deployment.here("backfill", "--json")
    report = json.loads(said)
    assert code == 1
    assert [failure["wallet"] for failure in report["failures"]] == [wallet]
    assert report["errors"] == ["the table could not be loaded: the table is broken"]


def test_a_segment_that_the_store_does_not_give_out_holds_up_its_wallet_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As with a mode of another user, a bad sector, or an object with a key of its own."""
    world, wallet, others = world_and_wallet(54)
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url)
        deployment.want(world.wallets())
        read = Path.read_bytes

        def refuses(path: Path) -> bytes:
            if wallet in path.parts and path.suffix == ".gz":
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", refuses)
            report = deployment.backfill()
            (check,) = report.failed_checks
            assert wallet in check
            assert "Permission denied" in check
            assert deployment.table() == truth(world, others)
            for options, code in ((), 1), (("--verify",), 1), (("--apply",), 1):
                told = deployment.reconcile(*options, code=code)
                (found,) = [each for each in told["findings"] if each["wallet"] == wallet]
                assert found["finding"] == "ghost"
                assert len(told["findings"]) == len(world.wallets())
            assert told["failures"][0]["wallet"] == wallet
        served.state.counts.reset()
        assert deployment.backfill().failed_checks == []
        assert deployment.table() == truth(world)
        assert not served.state.counts.trade_requests


def test_a_store_that_gives_out_nothing_is_an_error_and_nobodys_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    world, _, _ = world_and_wallet(55)
    with sample_api(world) as served:
        deployment = Deployment(tmp_path, served.url)
        deployment.want(world.wallets())
        read = Path.read_bytes

        def refuses(path: Path) -> bytes:
            if path.suffix == ".gz":
                raise OSError(5, "Input/output error", str(path))
            return read(path)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", refuses)
            (error,) = deployment.backfill().errors
            assert "the table could not be loaded" in error
            assert "Input/output error" in error
        deployment.backfill()
    assert deployment.table() == truth(world)
