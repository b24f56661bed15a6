"""Objects of batches damaged in a bucket, one after the other: BigQuery ends with the truth."""

import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from polycopy_assets.batches.manifest_files import wrong_files
from polycopy_assets.batches.manifests import read_batches, read_manifests
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.errors import StoreError
from polycopy_assets.store.base import Store, Stored
from polycopy_assets.store.gcs import GCSStore
from polycopy_assets.trades.batch import Manifest
from polycopy_assets_tests.cloud.google import GoogleDeployment
from polycopy_assets_tests.deployment import new_trades, sample_api, truth
from polycopy_assets_tests.fakes.bigquery import Double
from polycopy_assets_tests.fakes.gcs import GCS
from polycopy_assets_tests.of_trades import manifest_name

pytestmark = pytest.mark.exhaustive

WALLETS = 3
Damage = Callable[[Store, str, str], None]


def put(store: Store, name: str, data: bytes) -> None:
    """Writes an object over, as somebody else would."""
    store.delete(name)
    store.create(name, data)


def flip(store: Store, name: str, other: str) -> None:
    del other
    data = bytearray(store.read(name))
    data[len(data) // 2] ^= 0xFF
    put(store, name, bytes(data))


def empty(store: Store, name: str, other: str) -> None:
    del other
    put(store, name, b"")


def remove(store: Store, name: str, other: str) -> None:
    del other
    store.delete(name)


def swap(store: Store, name: str, other: str) -> None:
    mine, others = store.read(name), store.read(other)
    put(store, name, others)
    put(store, other, mine)


def rename(store: Store, name: str, other: str) -> None:
    del other
    store.create(name.replace("0000", "0007", 1), store.read(name))
    store.delete(name)


def double_it(store: Store, name: str, other: str) -> None:
    del other
    store.create(name.replace("0000", "0007", 1), store.read(name))


def the_manifest(manifest: Manifest) -> str:
    return manifest_name(manifest.batch)


def a_part(manifest: Manifest) -> str:
    return manifest.parts[0].name


def the_claims(manifest: Manifest) -> str:
    return manifest.files[-1].name


@pytest.mark.timeout(300)
def test_whatever_is_damaged_the_table_is_the_truth_and_nobody_is_asked_again(
    tmp_path: Path, gcs: GCS, double: Double, monkeypatch: pytest.MonkeyPatch
):
    world = generate(52, WALLETS, whales=1, whale_trades=120, most_trades=9)
    with sample_api(world, lag_seconds=int(time.time()) - LAST - 700) as api:
        deployment = GoogleDeployment(tmp_path, api.url, gcs, double.url)
        wallets = [wallet.lower() for wallet in world.wallets()]
        deployment.want(wallets)
        deployment.backfill()
        api.state.lag_seconds -= 1000
        for number, wallet in enumerate(wallets):
            world.add(new_trades(wallet, LAST + 500 + 50 * number, 5))
        deployment.backfill(refresh=True)
        store = deployment.store
        segments = [*store.list("trades/")]
        api.state.counts.reset()
        damages: tuple[Damage, ...] = (flip, empty, remove, swap, rename, double_it)
        for what, damage in product((the_manifest, a_part, the_claims), damages):
            if len(read_batches(store).sound) == 1:
                split_in_two(deployment)
            first, *_, last = read_manifests(store)
            damage(store, what(first), what(last))
            deployment.execute("DROP TABLE {}trades")
            report = deployment.backfill()
            where = f"{damage.__name__} {what.__name__}"
            assert (report.errors, report.failed_checks) == ([], []), where
            assert deployment.table() == truth(world), where
            assert not api.state.counts.requests, where
            assert [*store.list("trades/")] == segments, where
            assert not read_batches(store).broken, where
        assert deployment.reconcile()["counts"] == {"consistent": WALLETS}

        manifest = next(read_manifests(store))
        flip(store, the_manifest(manifest), "")
        delete = GCSStore.delete

        def refused(self: GCSStore, name: str) -> None:
            if name == the_manifest(manifest):
                raise StoreError(f"cannot delete {name}: 403 the object is under active hold")
            delete(self, name)

        monkeypatch.setattr(GCSStore, "delete", refused)
        deployment.execute("DROP TABLE {}trades")
        (check,) = deployment.backfill().failed_checks
        assert "under active hold" in check
        assert deployment.table() == truth(world)


def split_in_two(deployment: GoogleDeployment) -> None:
    """Combines a wallet again, so that there are two batches."""
    wallet = next(read_manifests(deployment.store)).claims[0].wallet
    with deployment.instance() as instance:
        deployment.load(instance, again=[wallet])


def test_comparing_files_costs_one_listing_and_no_download(
    tmp_path: Path, gcs: GCS, double: Double, monkeypatch: pytest.MonkeyPatch
):
    world = generate(53, WALLETS)
    with sample_api(world) as api:
        deployment = GoogleDeployment(tmp_path, api.url, gcs, double.url)
        deployment.want(world.wallets())
        deployment.backfill()
    (manifest,) = read_manifests(deployment.store)
    listed: list[str] = []
    listing = GCSStore.list

    def noted(self: GCSStore, prefix: str) -> Iterator[Stored]:
        listed.append(prefix)
        return listing(self, prefix)

    def never(*_: object) -> None:
        raise AssertionError("downloaded")

    monkeypatch.setattr(GCSStore, "list", noted)
    monkeypatch.setattr(GCSStore, "read", never)
    monkeypatch.setattr(GCSStore, "local", never)
    assert not wrong_files(deployment.store, manifest)
    assert listed == ["combined/parts/00000001/"]
