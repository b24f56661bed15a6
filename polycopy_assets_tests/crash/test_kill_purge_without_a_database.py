"""Every wallet is purged, and what knew about it is lost: nothing comes back, nothing is stuck."""

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets_tests.crash.killed import killed
from polycopy_assets_tests.deployment import Deployed, Deployment, truth

WORLD = generate(24, 4, whales=0, most_trades=25)
*PURGED, NEW = sorted((w.lower() for w in WORLD.wallets()), key=lambda w: (not WORLD.truth(w), w))

AFTER_THE_TOMBSTONES = """
from polycopy_assets.cli import purge
after(purge, "note_purged")
"""


def filled(deployment: Deployment, served: Served) -> None:
    assert deployment.here("wallets", "add", *PURGED)[0] == 0
    assert deployment.here("backfill")[0] == 0
    assert deployment.table() == truth(WORLD, PURGED)
    served.state.counts.reset()


def snapshots(deployment: Deployment) -> dict[str, bytes]:
    found = list(deployment.store.list(TRADES.names.snapshots))
    return {item.name: deployment.store.read(item.name) for item in found}


def asked(served: Served) -> set[str]:
    found = {item.wallet for item in served.state.counts.log}
    served.state.counts.reset()
    return found


def adds_another(deployment: Deployment, served: Served) -> None:
    """Nothing is wrong for a wallet that is added after all others were purged."""
    assert deployment.here("backfill", "--refresh")[0] == 0
    assert asked(served) == set()
    assert deployment.here("wallets", "add", NEW)[0] == 0
    assert deployment.here("backfill")[0] == 0
    assert asked(served) == {NEW}
    assert deployment.table() == truth(WORLD, [NEW])
    assert deployment.reconcile("--verify")["counts"] == {"retired": len(PURGED), "consistent": 1}


@pytest.mark.parametrize("instance", ["files", "ephemeral"])
def test_with_every_wallet_purged_a_lost_record_is_none(deployed: Deployed, instance: str):
    """There is nothing to rebuild it from, so a fetch that waited for that would wait for ever."""
    chosen = {"POLYCOPY_INSTANCE": instance} if instance == "ephemeral" else {}
    with deployed(WORLD, **chosen) as (deployment, served):
        filled(deployment, served)
        assert deployment.here("wallets", "remove", "--purge", *PURGED)[0] == 0
        deployment.lose_record()
        adds_another(deployment, served)


def test_a_purge_that_was_killed_before_its_snapshot_stays_a_purge(deployed: Deployed):
    with deployed(WORLD, POLYCOPY_INSTANCE="ephemeral") as (deployment, served):
        filled(deployment, served)
        before = snapshots(deployment)
        killed(deployment, AFTER_THE_TOMBSTONES, "wallets", "remove", "--purge", *PURGED)
        assert snapshots(deployment) == before, "it names what is deleted"
        assert deployment.reconcile()["counts"] == {"retired": len(PURGED)}
        adds_another(deployment, served)


def test_a_purged_wallet_that_is_added_again_is_fetched_whatever_an_old_snapshot_says(
    deployed: Deployed,
):
    with deployed(WORLD, POLYCOPY_INSTANCE="ephemeral") as (deployment, served):
        filled(deployment, served)
        before = snapshots(deployment)
        killed(deployment, AFTER_THE_TOMBSTONES, "wallets", "remove", "--purge", *PURGED)
        assert deployment.here("wallets", "add", *PURGED)[0] == 0
        assert snapshots(deployment) == before, "it names what is deleted"
        assert deployment.here("backfill")[0] == 0
        assert asked(served) == {*PURGED}
        assert deployment.table() == truth(WORLD, PURGED)
        assert deployment.reconcile("--verify")["counts"] == {"consistent": len(PURGED)}
