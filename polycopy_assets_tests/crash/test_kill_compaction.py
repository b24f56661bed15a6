"""A refresh that is killed while it unites segments: nothing is missing, doubled or redone.

The wallet has many small segments, as an older version recorded them. Nothing is new, so whatever
is requested, combined or loaded is a redo.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets.fetch import compaction
from polycopy_assets.reconcile import read_ledgers
from polycopy_assets.reconcile.audit import audit
from polycopy_assets.trades.compaction import MOST
from polycopy_assets_tests.crash.killed import killed_fetch
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.of_trades import record_in, wallet_prefix

_IMPORTS = """
from polycopy_assets.fetch import compaction, one_wallet
from polycopy_assets.pipeline.leftovers import Leftovers
from polycopy_assets.store.local import LocalStore
"""

BEFORE_THE_RECORD = {
    "before the first union": "compaction.unite = die",
    "after the first union": "after(compaction, 'unite', 1)",
    "before the record": "one_wallet.left_over = die",
}
AFTER_THE_RECORD = {
    "before the pieces are removed": "Leftovers.remove = die",
    "after the first is removed": "after(LocalStore, 'delete', 1, 'trades/')",
    "after all are removed": "after(Leftovers, 'remove', 1)",
}


def _world() -> World:
    return generate(101, 3, whales=1, whale_trades=9_000, most_trades=9)


WHALE = max(_world().wallets(), key=lambda wallet: len(_world().truth(wallet))).lower()


@contextmanager
def with_small_segments(
    deployed: Deployed, *, lag: int = 5, requests: int = 0
) -> Iterator[tuple[Deployment, Served, World]]:
    """All is fetched and loaded, and the whale has more segments than a wallet keeps.

    At the end the trades of so many wallets must have been requested.
    """
    world = _world()
    with deployed(world, POLYCOPY_SEGMENT_BYTES="9000", lag_seconds=lag) as (deployment, api):
        deployment.want(world.wallets())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compaction, "unions", lambda segments: [])
            deployment.backfill()
        assert len(recorded(deployment)) > MOST
        api.state.lag_seconds += 600  # so that all is covered for as long as the test takes
        api.state.counts.reset()
        yield deployment, api, world
        assert len(api.state.counts.requests) == requests


def killed(deployment: Deployment, kill: str) -> None:
    """A refresh of the whale, killed at `kill`."""
    killed_fetch(deployment, _IMPORTS + kill, wallets=[WHALE])


def is_kept(deployment: Deployment) -> bool:
    """Whether the record outlasts a command, and is not rebuilt from what is stored."""
    return deployment.settings.instance != "ephemeral"


def recorded(deployment: Deployment) -> set[str]:
    with deployment.instance() as instance:
        found = record_in(instance).latest(WHALE)
    assert found
    return {segment.name for segment in found.segments}


def stored(deployment: Deployment) -> set[str]:
    return {item.name for item in deployment.store.list(wallet_prefix(WHALE))}


def batches(deployment: Deployment) -> list[str]:
    return [item.name for item in deployment.store.list("combined/manifests/")]


def nothing_is_found(deployment: Deployment, world: World) -> None:
    """By the audit and by reconciling; and a backfill finds nothing to do."""
    with deployment.instance() as instance:
        assert not audit(instance, deployment.store, 20_000).lost
    assert set(deployment.reconcile("--verify")["counts"]) == {"consistent"}
    before = batches(deployment)
    code, said = deployment.here("backfill", "--json")
    assert (code, json.loads(said)["complete"]) == (0, 3)
    assert batches(deployment) == before, "combined again"
    assert deployment.table() == truth(world)


def the_next_refresh_ends_it(deployment: Deployment) -> None:
    """Only few segments are left in the store, and the record names them all."""
    with deployment.instance() as instance:
        report = deployment.fetch(instance, wallets=[WHALE])
    assert stored(deployment) == recorded(deployment)
    assert len(recorded(deployment)) <= MOST, report


@pytest.mark.parametrize("kill", BEFORE_THE_RECORD)
def test_killed_before_the_record_it_names_the_pieces(deployed: Deployed, kill: str):
    with with_small_segments(deployed) as (deployment, _, world):
        before = recorded(deployment)
        killed(deployment, BEFORE_THE_RECORD[kill])
        assert before <= stored(deployment)
        if is_kept(deployment):
            assert recorded(deployment) == before
        nothing_is_found(deployment, world)
        the_next_refresh_ends_it(deployment)


@pytest.mark.parametrize("kill", AFTER_THE_RECORD)
def test_killed_after_the_record_the_pieces_are_left_over(deployed: Deployed, kill: str):
    with with_small_segments(deployed) as (deployment, _, world):
        before = recorded(deployment)
        killed(deployment, AFTER_THE_RECORD[kill])
        if is_kept(deployment):
            assert len(recorded(deployment) - before) >= 1
        the_next_refresh_ends_it(deployment)
        assert deployment.table() == truth(world)


@pytest.mark.parametrize("options", [(), ("--verify",)], ids=["listed", "verified"])
def test_segments_that_are_united_between_record_and_listing_are_not_lost(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
):
    with with_small_segments(deployed) as (deployment, _, _):
        listing = read_ledgers.list_store

        def meanwhile(*args: Any) -> Any:
            the_next_refresh_ends_it(deployment)
            return listing(*args)

        monkeypatch.setattr(read_ledgers, "list_store", meanwhile)
        assert "ghost" not in deployment.here("reconcile", "--json", *options)[1]
        assert len(recorded(deployment)) <= MOST
