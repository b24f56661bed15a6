"""What goes wrong with one wallet is that wallet's failure, whatever it is; the rest arrives."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets.assets.step_record import StepRecord
from polycopy_assets.batches import parts
from polycopy_assets.batches.manifests import Broken, read_manifests
from polycopy_assets.cli.runs import why_failed
from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import World
from polycopy_assets.errors import StoreError, WarehouseError
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.fetch.blame import DOWN_AFTER
from polycopy_assets.fetch.one_wallet import Fetched
from polycopy_assets.pipeline import combine as recombine
from polycopy_assets.pipeline import fetch as pipeline
from polycopy_assets.reconcile.repair import Repair
from polycopy_assets.record import materializations
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import register
from polycopy_assets.sources.polymarket import Polymarket
from polycopy_assets.store.local import LocalStore
from polycopy_assets.trades.interval import Interval
from polycopy_assets.warehouse.duckdb.feed_table import DuckDBTable
from polycopy_assets_tests.dagster.test_fetch_config import RANGE, fetched
from polycopy_assets_tests.deployment import (
    Deployed,
    Deployment,
    records_of,
    truth,
)
from polycopy_assets_tests.of_trades import record_in, segment_name
from polycopy_assets_tests.old_job import OldJob

pytestmark = pytest.mark.exhaustive


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
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world, wallet, others = world_and_wallet(51)
    page = Polymarket.page

    async def odd(self: Polymarket, asked: str, *args: Any) -> Any:
        if asked == wallet:
            raise unforeseen("what nobody foresaw")
        return await page(self, asked, *args)

    monkeypatch.setattr(Polymarket, "page", odd)
    with deployed(world) as (deployment, _):
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
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world, wallet, others = world_and_wallet(52)
    frame = parts._as_table

    def odd(pieces: Any, feed: Any) -> Any:
        if any(wallet in item.frame["wallet"].str.to_lowercase() for item in pieces):
            raise unforeseen("what nobody foresaw")
        return frame(pieces, feed)

    monkeypatch.setattr(parts, "_as_table", odd)
    with deployed(world) as (deployment, served):
        deployment.want(world.wallets())
        code, said = deployment.here("backfill", "--json")
        report = json.loads(said)
        assert (code, report["errors"], report["failures"]) == (1, [], [])
        (check,) = report["failed_checks"]
        assert wallet in check
        assert "ZeroDivisionError" in check
        assert deployment.table() == truth(world, others)
        assert logged(deployment, "Traceback"), "the traceback is nowhere to be found"
        monkeypatch.setattr(parts, "_as_table", frame)
        served.state.counts.reset()
        assert deployment.here("backfill")[0] == 0
        assert served.state.counts.trade_requests == 0
    assert deployment.table() == truth(world)


def test_a_wallet_whose_record_cannot_be_read_is_left_out_of_the_batch_by_name(deployed: Deployed):
    """It stopped every combine, and with it every load, for all wallets."""
    world, wallet, others = world_and_wallet(56)
    damaged = "0x" + "d" * 40
    with deployed(world) as (deployment, _):
        deployment.want(others[:3])
        deployment.backfill()
        deployment.want(world.wallets())
        with deployment.instance() as instance:
            register(instance, [damaged])
            instance.report_runless_asset_event(
                materializations.materialization(TRADES, damaged, "rows-3-0123456789abcdef", {})
            )
        for _ in range(2):
            code, said = deployment.here("backfill", "--json")
            report = json.loads(said)
            assert (code, report["errors"], report["failures"]) == (1, [], [])
            (check,) = report["failed_checks"]
            assert "record_has_its_data" in check
            assert f"{damaged}: the record of {damaged}" in check
            assert "lists no segments" in check
            assert deployment.table() == truth(world, [wallet, *others])
        assert deployment.here("reconcile", "--apply")[0] == 0
        assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(world)


def test_a_wallet_that_is_recorded_anew_while_it_is_combined_waits_for_the_next_load(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    """It was lost, and not in the record that was read first: the combine ended in a KeyError."""
    world, wallet, others = world_and_wallet(57)
    late = others[0].lower()
    versions, asked = FeedRecord.versions, list[object]()

    def earlier(record: FeedRecord, *some: Any) -> dict[str, str]:
        asked.append(some)
        found = versions(record, *some)
        return {w: v for w, v in found.items() if w != late} if len(asked) == 1 else found

    with deployed(world) as (deployment, _):
        deployment.want([wallet, late])
        deployment.backfill()
        broken = Broken(
            name="", why="", number=9, claims=next(read_manifests(deployment.store)).claims
        )
        for item in deployment.store.list(f"trades/{late}/"):
            deployment.store.delete(item.name)
        monkeypatch.setattr(FeedRecord, "versions", earlier)
        monkeypatch.setattr(recombine, "set_aside", lambda *_: None)
        with deployment.instance() as instance:
            found = recombine.combine_new(
                record_in(instance),
                deployment.store,
                {1},
                logging.getLogger(),
                lambda: None,
                broken=[broken],
            )
    assert found.lost == {}
    assert [claim.wallet for item in found.made for claim in item.claims] == [wallet]


def test_a_wallet_whose_old_segments_cannot_be_deleted_fails_alone_and_is_finished_later(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    error = StoreError("held by a retention policy")
    world, wallet, _ = world_and_wallet(53)
    delete = LocalStore.delete

    def held(self: LocalStore, name: str) -> None:
        if wallet in name:
            raise error
        delete(self, name)

    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        monkeypatch.setattr(LocalStore, "delete", held)
        with deployment.instance() as instance:
            fetched = deployment.fetch(instance, select="all", mode="full")
        (failed,) = fetched.failures
        assert failed.wallet == wallet
        assert str(error) in failed.reason
        assert fetched.recorded == len(world.wallets())
        report = deployment.backfill()
        assert (report.remaining, report.failed_checks) == (1, []), "it is not over"
        assert deployment.table() == truth(world)
        monkeypatch.setattr(LocalStore, "delete", delete)
        report = deployment.backfill()
        assert (report.remaining, report.failures) == (0, [])
    assert deployment.table() == truth(world)
    assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}


def test_what_is_recorded_is_loaded_also_when_the_fetch_ended_badly(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world, _, _ = world_and_wallet(54)
    write, written = StepRecord.write, []

    def breaking(record: StepRecord, fetched: Fetched) -> None:
        if len(written) == 3:
            raise unforeseen("the run itself breaks")
        written.append(fetched.wallet)
        write(record, fetched)

    monkeypatch.setattr(StepRecord, "write", breaking)
    monkeypatch.setattr(pipeline, "BATCH", 1)
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({})
        deployment.want(world.wallets())
        report = deployment.backfill()
        (error,) = report.errors
        assert "the fetch ended early" in error
        assert "the run itself breaks" in error
        assert report.complete == 3
        assert report.trades_fetched == sum(len(world.truth(wallet)) for wallet in written)
        assert report.requests > len(written)
        with deployment.instance() as instance:
            recorded = list(record_in(instance).versions())
        assert deployment.table() == truth(world, recorded)
        monkeypatch.setattr(StepRecord, "write", write)
        assert deployment.backfill().errors == []
    assert deployment.table() == truth(world)


def test_wallets_that_failed_are_named_also_when_the_load_failed(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world, wallet, _ = world_and_wallet(55)

    def broken(*_: Any) -> Any:
        raise WarehouseError("the table is broken")

    monkeypatch.setattr(DuckDBTable, "load", broken)
    with deployed(world) as (deployment, served):
        served.state.faults.set_wallets({wallet: "404"})
        deployment.want(world.wallets())
        code, said = deployment.here("backfill", "--json")
    report = json.loads(said)
    assert code == 1
    assert [failure["wallet"] for failure in report["failures"]] == [wallet]
    assert report["errors"] == ["the table could not be loaded: the table is broken"]


def test_a_segment_that_the_store_does_not_give_out_holds_up_its_wallet_alone(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    """As with a mode of another user, a bad sector, or an object with a key of its own."""
    world, wallet, others = world_and_wallet(54)
    with deployed(world) as (deployment, served):
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
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world, _, _ = world_and_wallet(55)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        read = Path.read_bytes

        def refuses(path: Path) -> bytes:
            if path.suffix == ".gz" and path.parent.name != "wanted":
                raise OSError(5, "Input/output error", str(path))
            return read(path)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", refuses)
            (error,) = deployment.backfill().errors
            assert "the table could not be loaded" in error
            assert "Input/output error" in error
        deployment.backfill()


def test_a_horizon_that_nobody_foresaw_is_said_of_every_wallet_and_ends_no_run(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world, _, _ = world_and_wallet(56)
    error = OverflowError("int too large to convert to float")
    horizon = Polymarket.horizon

    async def odd(_: Polymarket) -> Any:
        raise error

    monkeypatch.setattr(Polymarket, "horizon", odd)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        report = deployment.backfill()
        assert report.errors == []
        assert len(report.failures) == len(world.wallets())
        for failure in report.failures:
            assert failure.reason.startswith("not tried: internal: OverflowError at test_one_wall")
        assert logged(deployment, "Traceback"), "the traceback is nowhere to be found"
        monkeypatch.setattr(Polymarket, "horizon", horizon)
        assert deployment.backfill().failures == []
    assert deployment.table() == truth(world)


def test_a_record_that_cannot_be_read_is_its_wallets_failure_and_the_rest_is_fetched_and_loaded(
    deployed: Deployed,
):
    world = generate(57, 8, most_trades=20)
    wallets = sorted(wallet.lower() for wallet in world.wallets())
    illegible, *others, new = wallets
    tags = {f"{RANGE}start": illegible, f"{RANGE}end": new}
    with deployed(world) as (deployment, _):
        deployment.want([illegible, *others])
        deployment.backfill()
        with deployment.instance() as instance:
            register(instance, [new])
            instance.report_runless_asset_event(
                materializations.materialization(TRADES, illegible, "rows-1-0123456789abcdef", {})
            )
            result = fetched(deployment, instance, tags, select="remaining")
            assert not result.success
            said = why_failed(result)
            legible = {item.wallet: item for item in records_of(instance, wallets)}
        assert "1 of 2 wallets failed" in said
        assert f"{illegible}: internal: the record" in said
        assert "lists no segments" in said
        assert legible.keys() == {new, *others}
        assert {item.run_id for item in legible.values()} == {result.run_id}
        report = deployment.backfill()
        assert report.errors == []
        assert any(illegible in check for check in report.failed_checks)
        assert deployment.rows(
            "SELECT count(*) FROM {}trades WHERE wallet_address = @wallet", wallet=new
        ) == [(len(world.truth(new)),)]
        deployment.reconcile("--apply")
        assert deployment.backfill().failed_checks == []
    assert deployment.table() == truth(world)


def test_segments_that_may_not_be_deleted_do_not_make_the_store_count_as_down(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(58, DOWN_AFTER + 6, most_trades=20)
    wallets = sorted(wallet.lower() for wallet in world.wallets())
    held = wallets[: DOWN_AFTER + 2]
    unlink = Path.unlink

    def refused(path: Path, *, missing_ok: bool = False) -> None:
        if "/trades/" in str(path):
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    with deployed(world, POLYCOPY_CONCURRENCY="1") as (deployment, _):
        deployment.want(wallets)
        for wallet in held:
            deployment.store.create(segment_name(wallet, Interval(0, 1_000_000_000)), b"no gzip")
        monkeypatch.setattr(Path, "unlink", refused)
        report = deployment.backfill()
        assert {each.wallet for each in report.failures} == set(held)
        assert all("cannot delete" in each.reason for each in report.failures)
        assert report.complete == len(wallets) - len(held)
        monkeypatch.setattr(Path, "unlink", unlink)
        assert deployment.backfill().failures == []
    assert deployment.table() == truth(world)


def test_a_record_that_becomes_illegible_during_a_reconciliation_is_its_wallets_failure(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    world = generate(59, 6, most_trades=20)
    ticked, illegible, *others = sorted(wallet.lower() for wallet in world.wallets())
    mark_complete = Repair._mark_complete

    def damaged(repair: Repair) -> None:
        odd = materializations.materialization(TRADES, illegible, "rows-1-0123456789abcdef", {})
        repair._record.instance.report_runless_asset_event(odd)
        mark_complete(repair)

    monkeypatch.setattr(Repair, "_mark_complete", damaged)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        old = OldJob(deployment)
        old.tick(ticked, len(world.truth(ticked)), at=1_700_000_000, file="gs://b/none.jsonl")
        old.write()
        told = deployment.reconcile("--apply", code=1)
        assert [item["wallet"] for item in told["failures"]] == [illegible]
        assert "lists no segments" in told["failures"][0]["reason"]
        told = deployment.reconcile(code=1)
        assert told["counts"] == {"ghost": 1, "consistent": len(others) + 1}
        monkeypatch.setattr(Repair, "_mark_complete", mark_complete)
        deployment.reconcile("--apply")
        assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}
    assert deployment.table() == truth(world)
