"""How fresh the sample API is, and how it can be told to lie about that.

All in seconds. Trades that the feed does not have yet are not served, so a client that believes a
lie loses them.
"""

import time
from email.utils import formatdate
from typing import Any

import msgspec

BLOCK_SECONDS = 2
HEAD_BLOCK = 80_000_000


class Freshness(msgspec.Struct, kw_only=True):
    """Delays of the feed, and lies about them; may change at any time.

    `lag` is how far the whole feed trails, `stalled_stream` how far one contract's stream does
    while the others are at head. `hidden_lag` is a lag that no answer shows. `status_frozen` is
    since when (epoch seconds) the status is not refreshed; with `age_frozen` its age is not either.
    `pnl_lag` is the lag of another mechanism. `date_offset` is how wrong the clock in `Date` is,
    `no_date` leaves it out, `cached` is how long every answer has been in a cache. `status`
    overrides fields of the status.
    """

    lag: int = 5
    stalled_stream: int = 0
    hidden_lag: int = 0
    status_frozen: float = 0.0
    age_frozen: bool = False
    pnl_lag: int = 0
    date_offset: float = 0.0
    no_date: bool = False
    cached: int = 0
    status: dict[str, Any] = {}

    def newest_served(self, now: float) -> int:
        """The latest second whose trades are all in the feed."""
        return int(now) - max(self.lag, self.stalled_stream, self.hidden_lag)

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
        behind = max(self.lag, self.stalled_stream) // BLOCK_SECONDS
        lagged = {"source": "ctf_exchange", "block": HEAD_BLOCK - behind, "behind_max": behind}
        return {
            "computed_at": int(moment),
            "age_seconds": 0 if self.age_frozen else int(now - moment),
            "serving": {
                "lag_seconds": max(self.lag, pnl),
                "healthy": True,
                "mechanisms": [
                    _mechanism("activity_feed", self.lag),
                    _mechanism("custody_balances", self.lag),
                    _mechanism("pnl", pnl),
                ],
            },
            "ingestion": {
                "max_synced_block": HEAD_BLOCK,
                "min_synced_block": HEAD_BLOCK - behind,
                "most_lagged": lagged,
                "lagging": [lagged] if behind else [],
            },
            **self.status,
        }


def now() -> float:
    """The true time, epoch seconds."""
    return time.time()


def _mechanism(name: str, lag: int) -> dict[str, Any]:
    return {"mechanism": name, "age_seconds": lag, "blocks_behind": lag // BLOCK_SECONDS}
