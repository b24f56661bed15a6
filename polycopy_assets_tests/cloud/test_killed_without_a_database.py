"""Without a database, on a bucket: killed twice, and nothing is asked twice or lost."""

import json
from pathlib import Path

from polycopy_assets.demo.generate import generate
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.guard.lease import LEASES
from polycopy_assets_tests.cloud.google import GoogleDeployment
from polycopy_assets_tests.crash.killed import killed
from polycopy_assets_tests.crash.test_kill_without_a_database import (
    WALLETS,
    WITHIN_A_FETCH,
    wanted,
)
from polycopy_assets_tests.deployment import sample_api, truth
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.gcs import GCS

CREATED_AND_NOT_TOLD = """
from polycopy_assets.store.gcs import GCSStore
create = GCSStore.create
def dies(self, name, *rest):
    create(self, name, *rest)
    if name.startswith("record/snapshots/"):
        die()
GCSStore.create = dies
"""
"""The bucket has the snapshot, and the process dies before the answer."""


def test_on_a_bucket_the_command_after_two_kills_asks_for_what_is_missing_alone(
    tmp_path: Path, gcs: GCS, double: Double
):
    world = generate(24, WALLETS, whales=1, whale_trades=1_500)
    with sample_api(world) as served:
        deployment = GoogleDeployment(
            tmp_path, served.url, gcs, double.url, POLYCOPY_INSTANCE="ephemeral"
        )
        wanted(deployment, world.wallets()[:4])
        assert deployment.here("backfill")[0] == 0
        wanted(deployment, world.wallets()[4:])
        served.state.counts.reset()
        for place in (WITHIN_A_FETCH, CREATED_AND_NOT_TOLD):
            killed(deployment, place, "backfill")
        ended, said = deployment.here("backfill", "--json")
        assert ended == 0
        found = json.loads(said)
        assert (found["complete"], found["failed"], found["requests"]) == (WALLETS, 0, 0)
        rows = served.state.counts.rows
        assert rows == {w.lower(): len(world.truth(w)) for w in world.wallets()[4:]}, "no redos"
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}
        # Each killed command held the lock, and the next one took it over.
        assert 1 <= len(list(deployment.store.list(LEASES))) <= 3
        assert len(list(deployment.store.list(TRADES.names.snapshots))) == 2
