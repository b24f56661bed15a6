"""Downstream of a compaction: nothing is found, combined, loaded or requested again."""

import time

import msgspec
import pytest

from polycopy_assets.trades.batch import Manifest
from polycopy_assets.trades.compaction import MOST
from polycopy_assets_tests.crash.test_kill_compaction import (
    AFTER_THE_RECORD,
    WHALE,
    batches,
    killed,
    nothing_is_found,
    recorded,
    stored,
    the_next_refresh_ends_it,
    with_small_segments,
)
from polycopy_assets_tests.deployment import Deployed, new_trades, truth


@pytest.mark.parametrize("kill", AFTER_THE_RECORD)
def test_after_a_kill_nothing_is_found_or_done_again(deployed: Deployed, kill: str):
    with with_small_segments(deployed) as (deployment, _, world):
        killed(deployment, AFTER_THE_RECORD[kill])
        nothing_is_found(deployment, world)
        the_next_refresh_ends_it(deployment)
        nothing_is_found(deployment, world)


def test_after_a_compaction_nothing_is_found_or_done_again(deployed: Deployed):
    with with_small_segments(deployed) as (deployment, _, world):
        the_next_refresh_ends_it(deployment)
        nothing_is_found(deployment, world)


def test_with_news_only_the_news_is_combined(deployed: Deployed):
    with with_small_segments(deployed, lag=100_000, requests=3) as (deployment, api, world):
        world.add(new_trades(WHALE, int(time.time()) - 50_000, 5))
        api.state.lag_seconds = 5
        before = batches(deployment)
        assert deployment.here("backfill", "--refresh")[0] == 0
        (new,) = [name for name in batches(deployment) if name not in before]
        made = msgspec.json.decode(deployment.store.read(new), type=Manifest)
        assert made.rows == 5
        assert stored(deployment) == recorded(deployment)
        assert len(recorded(deployment)) <= MOST + 1
        assert deployment.table() == truth(world)
        api.state.lag_seconds = 605
        nothing_is_found(deployment, world)
