"""Commands that change who is wanted, killed anywhere or run at the same time.

Each kill has a wallet of its own: what it left behind meets the next one.
"""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.record.partitions import registered
from polycopy_assets.store.wanted import FOLD_AFTER, change_wanted, read_wanted
from polycopy_assets.trades.wanted import Entry, State
from polycopy_assets_tests.crash.killed import killed
from polycopy_assets_tests.deployment import Deployment, sample_api, truth
from polycopy_assets_tests.of_trades import wallet_prefix

_STEPS = """
from polycopy_assets.record import wanted
from polycopy_assets.store.local import LocalStore
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
"""

_PURGING = """
from polycopy_assets.cli import purge
from polycopy_assets.pipeline import purge as engine
"""

PURGES = {
    "after the tombstone": "DuckDBWarehouse.remove_traders = die",
    "after the row": "after(DuckDBWarehouse, 'remove_traders')",
    "after the record is revoked": "purge.CoverageWriter = die",
    "before the batch is committed": "engine.combine = die",
    "after the batch": "purge.delete_segments = die",
    "after a segment": "after(LocalStore, 'delete', 1, 'trades/')",
    "before the load": "purge.run_job = die",
    "after the load": "purge.note_purged = die",
}
ADDITIONS = {
    "before the list is written": "wanted.change_wanted = die",
    "after the list is written": "DuckDBWarehouse.add_traders = die",
    "before the partition": "after(DuckDBWarehouse, 'add_traders')",
}
REMOVALS = {
    "after the tombstone": "DuckDBWarehouse.remove_traders = die",
    "after the row": "after(DuckDBWarehouse, 'remove_traders')",
}

WORLD = generate(73, len(PURGES) + 2, whales=0, most_trades=25)
WALLETS = sorted(
    (wallet.lower() for wallet in WORLD.wallets()), key=lambda w: (not WORLD.truth(w), w)
)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Deployment]:
    """All wallets are fetched and loaded."""
    with sample_api(WORLD) as served:
        deployment = Deployment(tmp_path, served.url, POLYCOPY_SEGMENT_BYTES="900")
        assert deployment.here("wallets", "add", *WALLETS)[0] == 0
        assert deployment.here("backfill")[0] == 0
        yield deployment


def rows(deployment: Deployment) -> set[str]:
    return {str(wallet) for wallet in deployment.warehouse.traders()}


def partitions(deployment: Deployment) -> set[str]:
    with deployment.instance() as instance:
        return set(registered(instance))


def state(deployment: Deployment, wallet: str) -> State | None:
    return read_wanted(deployment.store).state(wallet)


def next_steps(deployment: Deployment) -> str:
    return " ".join(json.loads(deployment.here("status", "--json")[1])["next_steps"])


def table_without(deployment: Deployment, wallets: set[str]) -> Counter[tuple[object, ...]]:
    return Counter({row: n for row, n in deployment.table().items() if row[0] not in wallets})


def test_a_purge_that_is_killed_anywhere_is_said_and_goes_on(there: Deployment):
    gone: set[str] = set()
    for wallet, (when, kill) in zip(WALLETS, PURGES.items(), strict=False):
        killed(there, _STEPS + _PURGING + kill, "wallets", "remove", "--purge", wallet)
        assert state(there, wallet) is State.PURGING, when
        assert "`polycopy wallets remove --purge` continues" in next_steps(there), when
        gone.add(wallet)
        if when in {"after the record is revoked", "after a segment"}:
            # Neither a reconciliation nor a backfill brings any of it back, or asks for it.
            assert set(there.reconcile("--apply")["counts"]) == {"retired", "consistent"}, when
            assert there.here("backfill")[0] == 0
        # What others have is whole at any moment.
        others = [w for w in WALLETS if w not in gone]
        assert table_without(there, gone) == truth(WORLD, others), when
        assert there.here("wallets", "remove", "--purge")[0] == 0, when
        assert state(there, wallet) is State.PURGED
        assert there.table() == truth(WORLD, others), when
        assert not list(there.store.list(wallet_prefix(wallet))), when
        assert wallet not in rows(there) | partitions(there)
    found = there.reconcile("--verify")["counts"]
    assert found == {"retired": len(gone), "consistent": len(WALLETS) - len(gone)}
    Path(there.settings.warehouse).unlink()
    assert there.here("backfill")[0] == 0
    assert there.table() == truth(WORLD, [w for w in WALLETS if w not in gone])


def test_additions_and_removals_that_are_killed_or_run_at_once_lose_nothing(there: Deployment):
    for wallet, (when, kill) in zip(WALLETS, REMOVALS.items(), strict=False):
        killed(there, _STEPS + kill, "wallets", "remove", wallet)
        assert state(there, wallet) is State.REMOVED, when
        assert "a row of `traders` or a partition is left" in next_steps(there), when
        assert there.here("wallets", "remove", wallet)[0] == 0
        assert wallet not in rows(there) | partitions(there), when
        assert "partition is left" not in next_steps(there), when
    for number, (when, kill) in enumerate(ADDITIONS.items()):
        new = f"0x{number + 1:040x}"
        killed(there, _STEPS + kill, "wallets", "add", new)
        if when == "after the list is written":
            assert "`polycopy reconcile --apply` registers again" in next_steps(there)
        assert there.here("wallets", "add", new)[0] == 0, when
        assert state(there, new) is State.WANTED, when
        assert new in rows(there) & partitions(there), when
    lists = [[f"0x{number + 100 * who:040x}" for number in range(1, 5)] for who in (3, 5)]
    for number in range(FOLD_AFTER):  # so that the two fold while they write
        change_wanted(there.store, lambda _, at=number: [Entry("0x" + "e" * 40, State.REMOVED, at)])
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda some: there.polycopy("wallets", "add", *some), lists))
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    every = {wallet for some in lists for wallet in some}
    assert every <= {*read_wanted(there.store).wanted} & rows(there) & partitions(there)
