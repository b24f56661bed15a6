"""What an older version has left opens, heals, and goes on, without one request for what it has."""

import gzip
from pathlib import Path

from polycopy_assets_tests.deployment import sample_api, truth
from polycopy_assets_tests.old_home import odd_wallets, old_world, unpack


def test_a_deployment_of_an_older_version_heals_goes_on_and_asks_for_nothing_again(tmp_path: Path):
    world = old_world()
    with sample_api(world) as served:
        deployment = unpack(tmp_path, served.url)
        held = deployment.table()
        assert held.total() > 0
        odd = set(truth(world, list(odd_wallets(world))))
        assert not odd & held.keys(), "the older version has combined these after all"
        report = deployment.backfill()
        assert (report.failures, report.failed_checks, report.errors) == ([], [], [])
        assert (report.requests, served.state.counts.trade_requests) == (0, 0)
        assert deployment.table() == truth(world)
        assert deployment.reconcile()["counts"] == {"consistent": len(world.wallets())}
        refreshed = deployment.backfill(refresh=True)
        assert (refreshed.failures, refreshed.failed_checks) == ([], [])
        assert served.state.counts.rows.total() == 0, "trades were served a second time"
    assert deployment.table() == truth(world)


def test_the_archive_holds_the_odd_rows_that_it_is_about(tmp_path: Path):
    world = old_world()
    deployment = unpack(tmp_path, "http://127.0.0.1:9")
    for wallet, kind in odd_wallets(world).items():
        (name, *_) = [
            item.name
            for item in deployment.store.list(f"trades/{wallet.lower()}/")
            if gzip.decompress(deployment.store.read(item.name))
        ]
        lines = gzip.decompress(deployment.store.read(name))
        sign = {"huge_number": b"1e400", "other_names": b"0xfeed", "twice_key": b'"timestamp":1,'}
        assert sign[kind] in lines
