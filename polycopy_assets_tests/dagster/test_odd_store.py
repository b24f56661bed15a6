"""What lies in the store and has no place there: markers of others, links, pipes."""

import json
import os
from pathlib import Path

from polycopy_assets.demo.generate import generate
from polycopy_assets.fetch.blame import DOWN_AFTER
from polycopy_assets.reconcile import audit
from polycopy_assets_tests.deployment import Deployed, truth
from polycopy_assets_tests.of_trades import marker_name, wallet_prefix

JUNK = [b"", b"{}", b"\xff", b'["trades/x"]', b"null", b'["../../passwd"]', b"[1]"]


def test_a_marker_that_names_the_segments_of_another_wallet_deletes_nothing(deployed: Deployed):
    world = generate(121, 4, most_trades=20)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        deployment.backfill()
        store = deployment.store
        one, other, *_ = sorted(wallet.lower() for wallet in world.wallets())
        theirs = [item.name for item in store.list(wallet_prefix(other))]
        manifests = [item.name for item in store.list("combined/")]
        marker = marker_name(one)
        store.create(marker, json.dumps([*theirs, *manifests]).encode())
        before = {item.name for at in ("trades/", "combined/") for item in store.list(at)}
        code, said = deployment.here("backfill", "--refresh", "--json")
        assert code == 1
        (failure,) = json.loads(said)["failures"]
        assert failure["wallet"] == one
        for part in ("is damaged", theirs[0], "reconcile --apply"):
            assert part in failure["reason"]
        assert before <= {item.name for at in ("trades/", "combined/") for item in store.list(at)}
        told = deployment.reconcile(code=1)
        assert told["counts"] == {"refetching": 1, "consistent": 3}
        assert [item["text"] for item in told["refused"]] == [marker]
        assert deployment.reconcile("--apply")["left"] == {"consistent": 4}
        assert deployment.here("backfill", "--refresh")[0] == 0
        assert deployment.table() == truth(world)


def test_damaged_markers_of_many_wallets_hold_up_no_other(deployed: Deployed):
    world = generate(122, DOWN_AFTER + 6, most_trades=20)
    with deployed(world, POLYCOPY_CONCURRENCY="1") as (deployment, _):
        deployment.want(world.wallets())
        wallets = sorted(wallet.lower() for wallet in world.wallets())
        damaged = wallets[: DOWN_AFTER + 2]
        for number, wallet in enumerate(damaged):
            deployment.store.create(marker_name(wallet), JUNK[number % len(JUNK)])
        report = deployment.backfill()
        assert {each.wallet for each in report.failures} == set(damaged)
        assert report.complete == 4
        assert deployment.here("reconcile", "--apply")[0] == 0
        assert deployment.here("backfill")[0] == 0
        assert deployment.table() == truth(world)


def test_links_and_pipes_are_named_and_only_the_wallet_in_whose_way_they_are_fails(
    tmp_path: Path, deployed: Deployed
):
    world = generate(123, 4, most_trades=20)
    with deployed(world) as (deployment, api):
        deployment.want(world.wallets())
        deployment.backfill()
        outside, store = tmp_path / "outside", tmp_path / "store"
        outside.mkdir()
        wallet = next(wallet.lower() for wallet in world.wallets() if world.truth(wallet))
        (item,) = deployment.store.list(wallet_prefix(wallet))
        data = deployment.store.read(item.name)
        (store / item.name).unlink()
        (outside / "theirs").write_bytes(data)
        (store / item.name).symlink_to(outside / "theirs")
        (store / "trades" / "loop").symlink_to(store / "trades")
        os.mkfifo(store / "trades" / "pipe")
        told = deployment.reconcile(code=1)
        assert {each["text"] for each in told["refused"]} == {
            f"{item.name}, a link",
            "trades/loop, a link",
            "trades/pipe, a FIFO",
        }
        assert told["counts"] == {"ghost": 1, "consistent": 3}
        with deployment.instance() as instance:
            assert set(audit.audit(instance, deployment.store, 1).lost) == {wallet}
        api.state.counts.reset()
        code, said = deployment.here("reconcile", "--apply", "--json")
        assert code == 1
        (failure,) = json.loads(said)["failures"]
        assert failure["wallet"] == wallet
        assert "is a link" in failure["reason"]
        assert not api.state.counts.log, "what cannot be stored is not even asked for"
        assert (outside / "theirs").read_bytes() == data
        assert [path.name for path in outside.iterdir()] == ["theirs"]
        (store / item.name).unlink()
        assert deployment.here("reconcile", "--apply")[0] == 0
        assert deployment.here("backfill")[0] == 0
        assert deployment.table() == truth(world)


def test_a_wallet_folder_that_is_a_link_fails_that_wallet_alone(tmp_path: Path, deployed: Deployed):
    world = generate(124, 3, most_trades=20)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        outside, wallet = tmp_path / "outside", min(w.lower() for w in world.wallets())
        outside.mkdir()
        folder = tmp_path / "store" / wallet_prefix(wallet)
        folder.parent.mkdir(parents=True)
        folder.with_name(wallet).symlink_to(outside)
        report = deployment.backfill()
        assert [each.wallet for each in report.failures] == [wallet]
        assert "is a link" in report.failures[0].reason
        assert report.complete == 2
        assert list(outside.iterdir()) == []
