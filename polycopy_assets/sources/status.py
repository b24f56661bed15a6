"""`GET /v2/status` of Polymarket's Data API: the lag of the trade feed, and the status's age.

It is a snapshot. Its own age is added to every lag in it, because a stuck refresher keeps reporting
an old, small lag. If everything has stopped, `serving` shows it; if one contract's stream has
stopped while the others are at head, only `ingestion` does. If no stream is named as most lagged,
none lags: the status leaves out dormant streams.
"""

from typing import Any

import msgspec

from polycopy_assets.errors import ContractBroken, TransientError
from polycopy_assets.sources.http import Answer
from polycopy_assets.sources.moment import moment
from polycopy_assets.sources.rows import decode_page
from polycopy_assets.trades.horizon import Freshness

SECONDS_PER_BLOCK = 2
"""Approximate, for Polygon."""

FEED = "activity_feed"
"""The mechanism that serves trades; a stalled `pnl` does not affect them."""

_Number = float | None


class _Serving(msgspec.Struct):
    lag_seconds: _Number = None
    mechanisms: Any = None


class _Mechanism(msgspec.Struct):
    age_seconds: _Number = None
    blocks_behind: _Number = None


class _MostLagged(msgspec.Struct):
    behind_max: float


class _Ingestion(msgspec.Struct):
    most_lagged: _MostLagged | None = None


class _Data(msgspec.Struct):
    serving: _Serving
    ingestion: _Ingestion | None = None
    age_seconds: _Number = None
    computed_at: int | float | str | None = None


class _Status(msgspec.Struct):
    data: _Data


def freshness(answer: Answer, margin: float) -> Freshness:
    """What the status says; raises ContractBroken or TransientError if it does not say enough."""
    data = decode_page(answer.json, _Status).data
    return Freshness(
        date=answer.date,
        cached=answer.age,
        lag=max(_feed_lag(data.serving), _stream_lag(data.ingestion)),
        age=_age(data, answer),
        margin=margin,
    )


def _feed_lag(serving: _Serving) -> float:
    """Seconds that the trade feed lags; the worst of all feeds if it is not reported by itself."""
    feed = _mechanism(serving.mechanisms)
    told = ((feed.age_seconds, 1), (feed.blocks_behind, SECONDS_PER_BLOCK))
    lags = [value * scale for value, scale in told if value is not None]
    if lags:
        return max(lags)
    if serving.lag_seconds is None:
        raise TransientError("the source's status does not say how far its trade feed lags")
    return serving.lag_seconds


def _mechanism(mechanisms: Any) -> _Mechanism:
    """What the status says about `FEED`; raises ContractBroken for an invalid number."""
    try:
        return msgspec.convert(_named(mechanisms), _Mechanism)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ContractBroken(f"a status whose {FEED} cannot be read: {error}") from error


def _named(mechanisms: Any) -> dict[str, Any]:
    """The mechanism `FEED`, from a list or an object of them; empty if it is missing."""
    if isinstance(mechanisms, dict):
        found = mechanisms.get(FEED)
        return found if isinstance(found, dict) else {}
    for each in mechanisms if isinstance(mechanisms, list) else ():
        if isinstance(each, dict) and FEED in each.values():
            return each
    return {}


def _stream_lag(ingestion: _Ingestion | None) -> float:
    """Seconds that the most lagged contract stream lags; 0 if none is named."""
    lagged = ingestion.most_lagged if ingestion else None
    return lagged.behind_max * SECONDS_PER_BLOCK if lagged else 0.0


def _age(data: _Data, answer: Answer) -> float:
    """Seconds by which the status is older than the answer; the largest of the known ages."""
    told = [] if data.age_seconds is None else [data.age_seconds]
    if data.computed_at is not None and answer.date is not None:
        told.append(answer.date - moment(data.computed_at, "a status computed at"))
    if not told:
        raise TransientError("the source's status does not say how old it is")
    return max(told)
