"""`/v2/tokens` and `/v2/resolutions`, as strict as Polymarket's Data API v2.

Both leave out what they do not know, without a word. A token lags its market by `Labels.lag`.
"""

import time
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo.combos import Combo
from polycopy_assets.demo.entry import MICRO
from polycopy_assets.demo.ledger import combo_routes
from polycopy_assets.demo.ledger.catalogue import Catalogue
from polycopy_assets.demo.market import OUTCOMES, MarketFacts
from polycopy_assets.demo.params import (
    CONDITION,
    NUMBER,
    Invalid,
    known,
    only_one_of,
    several,
    v2_handler,
)
from polycopy_assets.demo.state import State, json, trade_route

MOST_TOKENS = 50
MOST_TOKEN_CONDITIONS = 10
MOST_RESOLUTIONS = 20
UNSET_PRICE = "69"
ONE = "1000000000000000000"
"""A price of 1 as the oracle writes it."""

PENDING = ("initialized", "posed", "proposed", "disputed")


def routes(state: State, catalogue: Catalogue) -> list[Route]:
    """The routes over `state`."""

    def route(path: str, answer: Any) -> Route:
        handler = v2_handler(lambda params: answer(state, catalogue, params))
        return Route(path, trade_route(state, handler, arrived=state.counts.board_arrived))

    return [route("/v2/tokens", _tokens), route("/v2/resolutions", _resolutions)]


def _tokens(state: State, catalogue: Catalogue, params: dict[str, str]) -> Response:
    known(params, {"token_id", "condition"})
    if only_one_of(params, "token_id", "condition") is None:
        raise Invalid("token_id", "one of token_id, condition")
    at = time.time()
    rows: list[dict[str, Any]] = []
    for token in several(params, "token_id", MOST_TOKENS, NUMBER):
        market, combo = catalogue.token(token), catalogue.combo_of_token(token)
        both = [*_token_rows(state, market, at), *_combo_rows(state, catalogue, combo, at)]
        rows += [r for r in both if r["token_id"] == token]
    conditions = several(params, "condition", MOST_TOKEN_CONDITIONS, CONDITION)
    for condition in conditions:
        rows += _token_rows(state, catalogue.condition(condition), at)
    for combo in dict.fromkeys(map(catalogue.combo, conditions)):
        rows += _combo_rows(state, catalogue, combo, at)
    return json({"data": rows})


def _combo_rows(
    state: State, catalogue: Catalogue, combo: Combo | None, at: float
) -> list[dict[str, Any]]:
    return combo_routes.token_rows(combo, catalogue, at, state.labels.lag) if combo else []


def _token_rows(state: State, market: MarketFacts | None, at: float) -> list[dict[str, Any]]:
    if market is None or market.created > at - state.labels.lag:
        return []
    resolved = market.resolved(at)
    return [
        {
            "token_id": token,
            "condition_id": market.condition_id,
            "structural_condition_id": None,
            "module": "neg_risk" if market.neg_risk_id else "v1_ctf",
            "outcome_index": index,
            "clob_index": 1 - index if market.crossed else index,
            "outcome": OUTCOMES[index],
            "opposite_token_id": market.tokens[1 - index] or None,
            "resolved": resolved,
            "final_price": market.price(index, at) / MICRO if resolved else None,
            "title": market.question,
            "market_slug": market.slug,
            "closed": resolved,
            "neg_risk": bool(market.neg_risk_id),
            "neg_risk_market_id": market.neg_risk_id or None,
            "question_index": market.question_index if market.neg_risk_id else None,
            "event_id": market.event_id,
            "event_slug": market.event_slug,
        }
        for index, token in enumerate(market.tokens)
        if token
    ]


def _resolutions(state: State, catalogue: Catalogue, params: dict[str, str]) -> Response:
    del state
    known(params, {"condition", "event_id", "question_id"})
    asked = only_one_of(params, "condition", "event_id", "question_id")
    if asked is None:
        raise Invalid("condition", "one of condition, event_id, question_id")
    markets: list[MarketFacts | None] = []
    if asked == "condition":
        conditions = several(params, asked, MOST_RESOLUTIONS, CONDITION)
        markets = [catalogue.condition(condition) for condition in conditions]
    elif asked == "event_id":
        for event in several(params, asked, MOST_RESOLUTIONS, NUMBER):
            markets += catalogue.event(int(event))
    else:
        question = params[asked].lower()
        markets = [market for market in catalogue.all() if market.question_id == question]
    at = time.time()
    return json({"data": [_resolution(market, at) for market in markets if market]})


def _resolution(market: MarketFacts, at: float) -> dict[str, Any]:
    """A row; fields that do not apply are left out, as the real API does."""
    row: dict[str, Any] = {
        "question_id": market.question_id,
        "condition_id": market.condition_id,
        "extended_review": False,
        "was_disputed": market.disputed,
        "new_version_q": False,
    }
    if market.payouts is None or market.resolved_at is None or not market.resolved(at):
        status = "disputed" if market.disputed else PENDING[market.number % 3]
        ended = market.ends and market.ends <= at
        return row | {
            "status": status if ended else "initialized",
            "proposed_price": ONE if ended else UNSET_PRICE,
            "reproposed_price": UNSET_PRICE,
            "price": UNSET_PRICE,
            "transaction_hash": "",
            "log_index": "",
            "last_update_timestamp": str(market.ends if ended else market.created),
        }
    moment = datetime.fromtimestamp(market.resolved_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return row | {
        "status": "resolved",
        "transaction_hash": "",
        "log_index": "",
        "last_update_timestamp": moment,
        "market_type": "ATOMIC_NEGRISK" if market.neg_risk_id else "BINARY",
        "payouts": list(market.payouts),
        # A question of an event that came out No because another came out Yes has no report.
        "resolution_source": "derived" if market.neg_risk_id and market.payouts[1] else "reported",
        "reporter": "UMA_OO",
        "was_arbitrated": False,
        "resolved_block": market.resolved_at // 2,
        "resolved_at": moment,
    }
