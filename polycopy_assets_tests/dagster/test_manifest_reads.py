"""Manifests are read once per process, and old ones not at all: counted at the store."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from polycopy_assets.batches import manifests
from polycopy_assets.demo.generate import LAST, generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.store.local import LocalStore
from polycopy_assets_tests.deployment import Deployment, new_trades, sample_api, truth
from polycopy_assets_tests.of_trades import MANIFESTS, SUMMARIES, manifest_name

WALLETS = 3


class Scene(NamedTuple):
    """A deployment whose wallets can get new trades, and the reads that are counted."""

    deployment: Deployment
    world: World
    api: Served
    reads: Counter[str]

    def refresh(self, number: int) -> None:
        """Another batch: every wallet has new trades."""
        for each, wallet in enumerate(self.world.wallets()):
            moment = LAST + 1000 * number + 500 + 50 * each
            self.world.add(new_trades(wallet.lower(), moment, 2))
        self.api.state.lag_seconds -= 1000
        report = self.deployment.backfill(refresh=True)
        assert (report.errors, report.failed_checks, report.remaining) == ([], [], 0)
        assert self.deployment.table() == truth(self.world)

    def below(self, prefix: str) -> dict[str, int]:
        return {name: n for name, n in self.reads.items() if name.startswith(prefix)}


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    reads: Counter[str] = Counter()

    def counted(name: str) -> None:
        original = getattr(LocalStore, name)

        def call(self: LocalStore, object_name: str) -> Any:
            reads[object_name] += 1
            return original(self, object_name)

        monkeypatch.setattr(LocalStore, name, call)

    counted("read")
    counted("local")
    world = generate(77, WALLETS, most_trades=9)
    with sample_api(world, lag_seconds=int(time.time()) - LAST - 700) as api:
        deployment = Deployment(tmp_path, api.url)
        deployment.want([wallet.lower() for wallet in world.wallets()])
        deployment.backfill()
        yield Scene(deployment, world, api, reads)


def test_a_backfill_reads_every_manifest_once(scene: Scene):
    for number in range(2):
        scene.refresh(number)
    scene.reads.clear()
    scene.refresh(2)
    assert scene.below(MANIFESTS) == dict.fromkeys(map(manifest_name, range(1, 5)), 1)
    scene.reads.clear()
    scene.deployment.backfill()
    assert scene.below(MANIFESTS) == dict.fromkeys(map(manifest_name, range(1, 5)), 1)


def test_with_a_summary_a_backfill_reads_it_and_what_is_newer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(manifests, "SUMMARY_EVERY", 3)
    for number in range(3):
        scene.refresh(number)
    (summary,) = [item.name for item in scene.deployment.store.list(SUMMARIES)]
    scene.reads.clear()
    scene.refresh(3)
    assert scene.below(MANIFESTS) == dict.fromkeys(map(manifest_name, (4, 5)), 1)
    assert scene.below(SUMMARIES) == {summary: 1}
    # A lost table is loaded from all batches, each manifest read when it is its turn.
    (Path(scene.deployment.settings.warehouse)).unlink()
    scene.reads.clear()
    report = scene.deployment.backfill()
    assert (report.errors, report.failed_checks) == ([], [])
    assert scene.deployment.table() == truth(scene.world)
    assert scene.below(MANIFESTS) == dict.fromkeys(map(manifest_name, range(1, 6)), 1)


def test_a_reconciliation_finds_a_manifest_that_was_changed_behind_a_summary(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(manifests, "SUMMARY_EVERY", 2)
    for number in range(2):
        scene.refresh(number)
    path = Path(scene.deployment.settings.store) / manifest_name(1)
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"rows":', b'"rovs":', 1))
    assert scene.deployment.backfill().errors == []
    found = scene.deployment.reconcile(code=1)
    assert [item["name"] for item in found["broken_batches"]] == [manifest_name(1)]
    scene.deployment.reconcile("--apply")
    assert scene.deployment.table() == truth(scene.world)
    report = scene.deployment.backfill()
    assert (report.errors, report.failed_checks) == ([], [])
    assert scene.deployment.reconcile()["counts"] == {"consistent": WALLETS}
