"""What may be changed while the sample API runs."""

import msgspec

from polycopy_assets.demo.entry import Labels
from polycopy_assets.demo.freshness import Freshness, now
from polycopy_assets.demo.limits import Limits
from polycopy_assets.demo.state import State


class Steering(msgspec.Struct):
    """What may be changed while the server runs; what is None stays."""

    lag_seconds: int | None = None
    latency: float | None = None
    down: bool | None = None
    board_shift: int | None = None
    names: dict[str, str] | None = None
    freshness: Freshness | None = None
    labels: Labels | None = None
    rate_limits: dict[str, tuple[int, float]] | None = None
    resolve: dict[str, tuple[int, int]] | None = None
    slow_seconds: float | None = None
    faults: dict[str, float] | None = None
    wallet_faults: dict[str, str] | None = None


def apply(state: State, wanted: Steering) -> None:
    """Changes what `wanted` names; raises ValueError for a fault that does not exist.

    KeyError if a market is to be resolved that is not known.
    """
    _change_world(state, wanted)
    _change_answers(state, wanted)


def _change_world(state: State, wanted: Steering) -> None:
    if wanted.names is not None:
        state.world.names = {wallet.lower(): name for wallet, name in wanted.names.items()}
    for condition, payouts in (wanted.resolve or {}).items():
        state.world.resolve(condition, payouts, int(now()))
    if wanted.lag_seconds is not None:
        state.lag_seconds = wanted.lag_seconds
    if wanted.freshness is not None:
        state.freshness = wanted.freshness
    if wanted.labels is not None:
        state.labels = wanted.labels
    if wanted.board_shift is not None:
        state.board_shift = wanted.board_shift


def _change_answers(state: State, wanted: Steering) -> None:
    if wanted.faults is not None:
        state.faults.set(wanted.faults)
    if wanted.wallet_faults is not None:
        state.faults.set_wallets(wanted.wallet_faults)
    if wanted.rate_limits is not None:
        state.limits = Limits(wanted.rate_limits)
    if wanted.latency is not None:
        state.latency = wanted.latency
    if wanted.slow_seconds is not None:
        state.faults.slow_seconds = wanted.slow_seconds
    if wanted.down is not None:
        state.down = wanted.down
