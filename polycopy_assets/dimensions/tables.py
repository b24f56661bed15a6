"""From versions of facts to the rows of `tokens` and `markets`, with the time each one held.

A row is kept for each different thing that the source has said. Where only another part of the
facts changed, the row before goes on. A combo is no market: its tokens alone have rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import msgspec
import polars as pl

from polycopy_assets.dimensions.columns import schema
from polycopy_assets.dimensions.facts import Facts, Market, Resolution, is_combo

_ROWS = 20_000
_PLACE = "place"
_KEYS: Mapping[str, str] = {"tokens": "token_id", "markets": "condition_id"}


def table(name: str, versions: Iterable[Facts]) -> pl.DataFrame:
    """The rows of table `name`; `versions` of one condition come in their order."""
    rows = _tokens if name == "tokens" else _markets
    kinds = {**schema(name), _PLACE: pl.Int64()}
    said = [name for name in schema(name) if name not in {"valid_from", "valid_until"}]
    numbered = ({**row, _PLACE: place} for place, row in enumerate(rows(versions)))
    frames = []
    while some := list(islice(numbered, _ROWS)):
        frames.append(pl.DataFrame(some, schema=kinds))
    every = pl.concat(frames) if frames else pl.DataFrame(schema=kinds)
    key = _KEYS[name]
    ordered = every.sort(key, _PLACE)
    same = pl.struct(said).eq_missing(pl.struct(said).shift()) & (
        pl.col(key) == pl.col(key).shift()
    )
    return (
        ordered.filter(~same.fill_null(value=False))
        .with_columns(valid_until=pl.col("valid_from").shift(-1).over(key))
        .drop(_PLACE)
    )


def _tokens(versions: Iterable[Facts]) -> Iterator[dict[str, Any]]:
    for facts in versions:
        for token in facts.tokens:
            yield {
                **msgspec.structs.asdict(token),
                "condition_id": facts.condition,
                "valid_from": _time(facts.since),
            }


def _markets(versions: Iterable[Facts]) -> Iterator[dict[str, Any]]:
    for facts in versions:
        if is_combo(facts.condition):
            continue
        yield {
            "condition_id": facts.condition,
            "known": facts.known,
            **(_market(facts.market) if facts.market else {}),
            **(_resolution(facts.resolution) if facts.resolution else {}),
            "valid_from": _time(facts.since),
        }


def _market(market: Market) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(market),
        "tags": msgspec.json.encode(market.tags).decode(),
        **{
            name: _time(getattr(market, name)) for name in ("start_date", "end_date", "closed_time")
        },
    }


def _resolution(found: Resolution) -> dict[str, Any]:
    values = msgspec.structs.asdict(found)
    status = values.pop("status")
    payouts = dict(enumerate(values.pop("payouts")))
    return {
        **values,
        "resolution_status": status,
        "payout_0": payouts.get(0),
        "payout_1": payouts.get(1),
        "resolved_at": _time(found.resolved_at),
    }


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
