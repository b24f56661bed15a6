"""`reconcile --apply` and `backfill` beside each other: what the source served wins."""

import time

import pytest

from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.kinds import Adopt
from polycopy_assets.reconcile.read_ledgers import read_ledgers
from polycopy_assets.reconcile.recording import Recording
from polycopy_assets_tests.deployment import Deployed, truth
from polycopy_assets_tests.of_trades import record_in
from polycopy_assets_tests.old_job import OldJob, old_file

PROCESSED = LAST + 864_000


@pytest.mark.parametrize("first", ["backfill", "reconcile"])
@pytest.mark.timeout(300)
def test_an_old_file_that_lacks_fills_never_replaces_what_is_being_fetched(
    deployed: Deployed, first: str
):
    world = generate(7, 6, whales=3, whale_trades=6_000, most_trades=20)
    wallets = [wallet.lower() for wallet in world.wallets()]
    whales = sorted(wallets, key=lambda wallet: -len(world.truth(wallet)))[:3]
    commands = {"backfill": ["backfill"], "reconcile": ["reconcile", "--apply"]}
    with deployed(world) as (deployment, served):
        deployment.want(wallets)
        old = OldJob(deployment)
        for wallet in whales:
            kept = [trade for n, trade in enumerate(world.truth(wallet)) if n % 10]
            old.put(wallet, old_file(kept))
            old.tick(wallet, len(kept), at=PROCESSED)
        old.write()
        served.state.latency = 0.05
        processes = [deployment.start(*commands.pop(first))]
        time.sleep(0.5)
        processes += [deployment.start(*command) for command in commands.values()]
        for process in processes:
            _, errors = process.communicate(timeout=200)
            assert "Traceback" not in errors, errors[-3000:]
        served.state.latency = 0.0
        deployment.polycopy("reconcile", "--apply")
        deployment.polycopy("backfill")
        done = deployment.polycopy("reconcile", "--json")
        asked = {wallet for wallet in whales if served.state.counts.rows[wallet] > 2_000}
    # Either the old file was taken over before anything was asked, or it was not taken over.
    taken_over = {
        wallet
        for (wallet,) in deployment.rows(
            "SELECT DISTINCT wallet_address FROM {}trades WHERE source = 'checkpoint'"
        )
    }
    assert not asked & taken_over
    assert done.returncode in {0, 1}
    of = {wallet: world.truth(wallet) for wallet in wallets}
    rows = dict(deployment.rows("SELECT wallet_address, count(*) FROM {}trades GROUP BY 1"))
    for wallet in set(wallets) - taken_over:
        assert rows.get(wallet, 0) == len(of[wallet])
    for wallet in taken_over:
        assert rows[wallet] == sum(1 for n, _ in enumerate(of[wallet]) if n % 10)
    duplicates = deployment.rows(
        "SELECT id FROM {}trades GROUP BY wallet_address, id HAVING count(*) > 1"
    )
    assert duplicates == []


def test_what_was_recorded_since_it_was_looked_at_is_left_as_it_is(deployed: Deployed):
    world = generate(8, 2, most_trades=60)
    wallets = [wallet.lower() for wallet in world.wallets() if len(world.truth(wallet)) > 4]
    with deployed(world) as (deployment, _):
        deployment.want(wallets)
        old = OldJob(deployment)
        for wallet in wallets:
            kept = world.truth(wallet)[:2]
            old.put(wallet, old_file(kept))
            old.tick(wallet, len(kept), at=PROCESSED)
        old.write()
        now = int(time.time())
        with deployment.instance() as instance:
            ledgers = read_ledgers(
                instance,
                deployment.store,
                deployment.warehouse,
                adopt=Adopt.VERIFIED,
                verify=False,
                progress=Progress(),
                now=now,
            )
        deployment.backfill()
        with deployment.instance() as instance:
            before = record_in(instance).versions()
            recording = Recording(
                instance,
                deployment.store,
                ledgers.batches.held,
                Progress(),
                lambda: None,
                now=now,
                say=lambda text: None,
                show=lambda: None,
            )
            recording.adopt([ledgers.facts[wallet] for wallet in wallets])
            assert record_in(instance).versions() == before
        assert deployment.backfill().requests == 0
    assert deployment.table() == truth(world, wallets)
