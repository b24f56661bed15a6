"""`GET /v2/status` of Polymarket's Data API: the lag of a feed, and the status's age.

It is a snapshot. Its own age is added to every lag in it, because a stuck refresher keeps reporting
an old, small lag. If everything has stopped, `serving` shows it; if one contract's stream has
stopped while the others are at head, only `ingestion` does. If no stream is named as most lagged,
none lags: the status leaves out dormant streams.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from polycopy_assets.errors import ContractBroken, TransientError
from polycopy_assets.sources.http import Answer
from polycopy_assets.sources.moment import moment
from polycopy_assets.sources.rows import decode_page
from polycopy_assets.trades.horizon import Freshness

SECONDS_PER_BLOCK = 2
"""Approximate, for Polygon."""


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


def freshness(answer: Answer, margin: float, feed: str, mechanisms: Sequence[str]) -> Freshness:
    """What the status says; raises ContractBroken or TransientError if it does not say enough.

    `mechanisms` are those that serve the `feed`: the slowest counts. Others do not: a stalled `pnl`
    does not affect trades. If none are known, the slowest of all feeds counts.
    """
    data = decode_page(answer.json, _Status).data
    serving = [_feed_lag(data.serving, feed, mechanism) for mechanism in mechanisms]
    serving = serving or [_slowest(data.serving, feed)]
    return Freshness(
        date=answer.date,
        cached=answer.age,
        lag=max([*serving, _stream_lag(data.ingestion)]),
        age=_age(data, answer),
        margin=margin,
    )


def _feed_lag(serving: _Serving, feed: str, mechanism: str) -> float:
    """Seconds that a mechanism lags; the worst of all feeds if it is not reported by itself."""
    said = _reported(serving.mechanisms, mechanism)
    told = ((said.age_seconds, 1), (said.blocks_behind, SECONDS_PER_BLOCK))
    lags = [value * scale for value, scale in told if value is not None]
    return max(lags) if lags else _slowest(serving, feed)


def _slowest(serving: _Serving, feed: str) -> float:
    if serving.lag_seconds is None:
        raise TransientError(f"the source's status does not say how far its {feed} lags")
    return serving.lag_seconds


def _reported(mechanisms: Any, name: str) -> _Mechanism:
    """What the status says about the mechanism; raises ContractBroken for an invalid number."""
    try:
        return msgspec.convert(_named(mechanisms, name), _Mechanism)
    except (msgspec.ValidationError, OverflowError) as error:
        raise ContractBroken(f"a status whose {name} cannot be read: {error}") from error


def _named(mechanisms: Any, name: str) -> dict[str, Any]:
    """The mechanism `name`, from a list or an object of them; empty if it is missing."""
    if isinstance(mechanisms, dict):
        found = mechanisms.get(name)
        return found if isinstance(found, dict) else {}
    for each in mechanisms if isinstance(mechanisms, list) else ():
        if isinstance(each, dict) and name in each.values():
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
