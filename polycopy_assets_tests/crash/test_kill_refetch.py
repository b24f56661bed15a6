"""A full refetch that is killed anywhere goes on: nothing is left over, nothing is paid twice."""

import json

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.fetch import refetch
from polycopy_assets.record import refetching
from polycopy_assets_tests.crash.killed import killed_fetch
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.of_trades import record_in, wallet_prefix

_IMPORTS = """
from polycopy_assets.fetch import refetch
from polycopy_assets.store.local import LocalStore
"""

KILLS = {
    "before the marker": "refetch.begin = die",
    "after the marker": "after(refetch, 'begin', 1)",
    "after the third new segment": "after(LocalStore, 'create', 4, 'trades/')",
    "before the old ones are removed": "refetch.finish = die",
    "after the first old one is removed": "after(LocalStore, 'delete', 1, 'trades/')",
    "after all old ones are removed": "after(refetch, 'finish', 1)",
}
EVERY_WAY = ("after the marker", "after the third new segment", "before the old ones are removed")
BACKFILL, REFRESH, RECONCILE = ["backfill"], ["backfill", "--refresh"], ["reconcile", "--apply"]


NOTED = ("before the marker", "after all old ones are removed")
"""Where only Dagster's record says that it has not ended: without a database, it has not begun, or
it has ended."""


def killed(deployment: Deployment, wallet: str, kill: str) -> None:
    """The job `fetch` with mode full, killed at `kill`."""
    killed_fetch(deployment, _IMPORTS + KILLS[kill], wallets=[wallet], mode="full")


@pytest.mark.parametrize(
    ("kill", "recovery"),
    [
        *((kill, recovery) for kill in EVERY_WAY for recovery in (BACKFILL, REFRESH, RECONCILE)),
        *((kill, BACKFILL) for kill in KILLS if kill not in EVERY_WAY),
    ],
)
def test_a_killed_full_refetch_is_left_to_do_and_then_ended(
    deployed: Deployed, kill: str, recovery: list[str]
):
    world = generate(101, 3, whales=1, whale_trades=6_000, most_trades=9)
    whale = max(world.wallets(), key=lambda wallet: len(world.truth(wallet))).lower()
    with deployed(world, POLYCOPY_SEGMENT_BYTES="20000") as (deployment, api):
        deployment.want(world.wallets())
        deployment.backfill()
        assert len(list(deployment.store.list(wallet_prefix(whale)))) > 5
        killed(deployment, whale, kill)
        status = json.loads(deployment.here("status", "--json")[1])
        assert status["trades"] == sum(truth(world).values())
        unknown = deployment.settings.instance == "ephemeral" and kill in NOTED
        if unknown:
            assert (status["complete"], status["remaining"]) == (3, 0)
            assert set(deployment.reconcile()["counts"]) == {"consistent"}
        else:
            assert (status["complete"], status["remaining"]) == (2, 1)
            told = deployment.reconcile(code=1)
            (finding,) = [x for x in told["findings"] if x["wallet"] == whale]
            assert finding["finding"] in {"refetching", "orphan"}
        api.state.counts.reset()
        assert deployment.here(*recovery)[0] == 0
        asked = set(api.state.counts.requests)
        assert asked <= {whale} or recovery == REFRESH
        assert deployment.here("backfill")[0] == 0
        with deployment.instance() as instance:
            now = record_in(instance).latest(whale)
            assert not refetching.unfinished(record_in(instance))
        there = {item.name for item in deployment.store.list(wallet_prefix(whale))}
        assert now is not None
        assert there == {segment.name for segment in now.segments}, "something is left over"
        if kill == "before the marker" and not unknown:
            assert min(item.start for item in api.state.counts.log if item.wallet == whale) <= 1
        assert deployment.table() == truth(world)
        assert set(deployment.reconcile()["counts"]) == {"consistent"}
        if kill == "after all old ones are removed":
            assert api.state.counts.trade_requests <= 1, "it was fetched once more"


def test_a_full_refetch_replaces_everything_though_a_part_was_being_replaced(deployed: Deployed):
    world = generate(101, 3, whales=1, whale_trades=3_000, most_trades=9)
    whale = max(world.wallets(), key=lambda wallet: len(world.truth(wallet))).lower()
    with deployed(world, POLYCOPY_SEGMENT_BYTES="20000") as (deployment, api):
        deployment.want(world.wallets())
        deployment.backfill()
        names = sorted(item.name for item in deployment.store.list(wallet_prefix(whale)))
        with deployment.instance() as instance:
            # As a fetch does that replaces one doubtful segment, and is killed after the marker.
            refetching.note_marked(record_in(instance), [whale])
            refetch.begin(deployment.store, whale, names[-1:])
            before = len(api.state.counts.log)
            deployment.fetch(instance, wallets=[whale], mode="full")
            assert refetching.unfinished(record_in(instance)) == {}
        asked = api.state.counts.log[before:]
        assert min(item.start for item in asked) <= 1, "from the beginning, and not the newest part"
        assert len(asked) > 2
        assert deployment.backfill().complete == len(world.wallets())
    assert deployment.table() == truth(world)


def test_a_full_refetch_that_was_begun_is_not_lowered_to_a_part(deployed: Deployed):
    with deployed(generate(101, 1)) as (deployment, _), deployment.instance() as instance:
        refetching.note(record_in(instance), "0xa", refetching.State.BEGUN)
        refetching.note_marked(record_in(instance), ["0xa", "0xb"])
        noted = refetching.unfinished(record_in(instance))
    assert noted == {"0xa": refetching.State.BEGUN, "0xb": refetching.State.MARKED}
