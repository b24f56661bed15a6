"""How fresh the sample API is, and how it can be told to lie about that.

All in seconds. Trades that the feed does not have yet are not served, so a client that believes a
lie loses them.
"""

import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import msgspec

BLOCK_SECONDS = 2
HEAD_BLOCK = 80_000_000
EXCHANGE = "ctf_exchange"

PIPELINES: Mapping[str, str] = {
    "TRADE": EXCHANGE,
    "SPLIT": "conditional_tokens",
    "MERGE": "conditional_tokens",
    "REDEEM": "auto_redeem_binary_redemption",
    "CONVERSION": "neg_risk_adapter",
    "MIGRATION": "collateral",
    "REWARD": "rewards",
    "YIELD": "rewards",
    "MAKER_REBATE": "rewards",
    "TAKER_REBATE": "rewards",
    "REFERRAL_REWARD": "rewards",
    "DEPOSIT": "collateral",
    "WITHDRAWAL": "collateral",
    "TIP": "collateral",
}
"""By type of activity: the pipeline that indexes it."""

OFF_CHAIN = "rewards"
"""The pipeline that follows no stream of the chain: the status has it among the mechanisms."""


class Freshness(msgspec.Struct, kw_only=True):
    """Delays of the feed, and lies about them; may change at any time.

    `lag` is how far the whole feed trails, `stalled_stream` how far the stream of the exchange
    does while the others are at head, and `pipelines` the same by pipeline. `hidden_lag` is a lag
    that no answer shows, `hidden_pipelines` the same by pipeline. `status_frozen` is since when
    (epoch seconds) the status is not refreshed; with `age_frozen` its age is not either.
    `pnl_lag` is the lag of another mechanism. `date_offset` is how wrong the clock in `Date` is,
    `no_date` leaves it out, `cached` is how long every answer has been in a cache. `status`
    overrides fields of the status.
    """

    lag: int = 5
    stalled_stream: int = 0
    pipelines: dict[str, int] = {}
    hidden_lag: int = 0
    hidden_pipelines: dict[str, int] = {}
    status_frozen: float = 0.0
    age_frozen: bool = False
    pnl_lag: int = 0
    date_offset: float = 0.0
    no_date: bool = False
    cached: int = 0
    status: dict[str, Any] = {}

    def newest_served(self, now: float, kind: str = "TRADE") -> int:
        """The latest second whose rows of the type `kind` are all in the feed."""
        pipeline = PIPELINES.get(kind, EXCHANGE)
        hidden = max(self.hidden_lag, self.hidden_pipelines.get(pipeline, 0))
        return int(now) - max(self.lag, self._streams().get(pipeline, 0), hidden)

    def _streams(self) -> dict[str, int]:
        """By pipeline, how far it trails as far as it is known."""
        stalled = max(self.stalled_stream, self.pipelines.get(EXCHANGE, 0))
        return {**self.pipelines, EXCHANGE: stalled}

    def headers(self, now: float) -> dict[str, str]:
        """`Date` and `Age` of an answer."""
        headers = {"age": str(self.cached)} if self.cached else {}
        if not self.no_date:
            date = formatdate(now + self.date_offset - self.cached, usegmt=True)
            headers["date"] = date
        return headers

    def data(self, now: float) -> dict[str, Any]:
        """`data` of `/v2/status`."""
        moment = self.status_frozen or now
        pnl = max(self.pnl_lag, self.lag)
        streams = {name: lag for name, lag in self._streams().items() if name != OFF_CHAIN}
        lagged = sorted(
            (_stream(name, max(self.lag, lag)) for name, lag in streams.items()),
            key=lambda stream: -stream["behind_max"],
        )
        behind = lagged[0]["behind_max"]
        off_chain = [
            max(self.lag, lag) for name, lag in self.pipelines.items() if name == OFF_CHAIN
        ]
        return {
            "computed_at": int(moment),
            "age_seconds": 0 if self.age_frozen else int(now - moment),
            "serving": {
                "lag_seconds": max(self.lag, pnl, *off_chain),
                "healthy": True,
                "mechanisms": [
                    _mechanism("activity_feed", self.lag),
                    _mechanism("custody_balances", self.lag),
                    _mechanism("pnl", pnl),
                    *(_mechanism(OFF_CHAIN, lag) for lag in off_chain),
                ],
            },
            "ingestion": {
                "max_synced_block": HEAD_BLOCK,
                "min_synced_block": HEAD_BLOCK - behind,
                "most_lagged": lagged[0],
                "lagging": [stream for stream in lagged if stream["behind_max"]],
            },
            **self.status,
        }


def now() -> float:
    """The true time, epoch seconds."""
    return time.time()


def _mechanism(name: str, lag: int) -> dict[str, Any]:
    return {"mechanism": name, "age_seconds": lag, "blocks_behind": lag // BLOCK_SECONDS}


def _stream(name: str, lag: int) -> dict[str, Any]:
    behind = lag // BLOCK_SECONDS
    return {"source": name, "block": HEAD_BLOCK - behind, "behind_max": behind}
