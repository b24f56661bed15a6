"""`/v2/activity/combos`, as strict as Polymarket's Data API v2, and combos in `/v2/tokens`.

Newest row first, by block and place in it; a wallet's whole history, because no window can be asked
for. Whether real rows name the outcome in the last byte of a combo's id is not known: these do not,
and the rows of `/v2/activity` do.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from polycopy_assets.demo import lies
from polycopy_assets.demo.combos import REPACKED, Combo, Event, Leg
from polycopy_assets.demo.contract import Cursor, Walked
from polycopy_assets.demo.entry import MICRO
from polycopy_assets.demo.feed import read_window, refusal, rows_page
from polycopy_assets.demo.freshness import now
from polycopy_assets.demo.ledger.catalogue import Catalogue, combo_id
from polycopy_assets.demo.market import OUTCOMES
from polycopy_assets.demo.params import CONDITION, known, several, v2_handler
from polycopy_assets.demo.state import State, trade_route

FEED = "combos"
MOST_CONDITIONS = 20
_KNOWN = frozenset({"user", "limit", "cursor", "condition"})

ENDED: Mapping[int, str] = {0: "RESOLVED_LOSS", MICRO: "RESOLVED_WIN"}
"""The status of a leg that has ended, by what a share of it pays."""


def routes(state: State, catalogue: Catalogue) -> list[Route]:
    """The route over `state`."""
    handler = v2_handler(lambda params: _combos(state, catalogue, params))
    arrived = state.counts.board_arrived
    return [Route("/v2/activity/combos", trade_route(state, handler, arrived=arrived))]


def _combos(state: State, catalogue: Catalogue, params: dict[str, str]) -> Response:
    known(params, _KNOWN)
    window, cursor = read_window(state, params, FEED)
    user, limit, filters = window["user"], window["limit"], window["filters"]
    asked = {combo_id(each) for each in several(params, "condition", MOST_CONDITIONS, CONDITION)}
    fault = state.faults.of(user, FEED)
    if refused := refusal(fault):
        return refused
    if cursor and cursor.filters != filters:
        cursor = None  # as in the other feeds: the walk starts again
    before = (cursor.timestamp, cursor.sequence) if cursor else None
    moment = now()
    found = [
        event
        for event in reversed(state.world.combos.events(user, state.world.entries(user)))
        if (before is None or event.position < before)
        and (not asked or combo_id(event.entry.condition_id) in asked)
        and event.entry.timestamp <= state.freshness.newest_served(moment, event.entry.type)
    ]
    following = None
    if len(found) > limit:
        block, log_index = found[limit - 1].position
        following = Cursor(block, log_index, limit, filters, feed=FEED).encode()
    walked = lies.served(fault, Walked(found[:limit], following), state.world, user)
    rows = [combo_row(event, catalogue, moment) for event in walked.rows]
    return rows_page(None, rows, limit, walked.next_cursor)


def combo_row(event: Event, catalogue: Catalogue, at: float) -> dict[str, Any]:
    """The row as it is served; amounts that do not apply are null."""
    entry = event.entry
    if entry.raw is not None:
        return dict(entry.raw)
    combo = catalogue.combo(entry.condition_id)
    moved = entry.type not in REPACKED
    return {
        "id": f"{entry.tx_hash}-{event.log_index}",
        "type": entry.type,
        "proxy_wallet": entry.served_wallet,
        "combo_condition_id": combo_id(entry.condition_id)[:-2],
        "combo_position_id": entry.token_id,
        "block_number": event.block,
        "timestamp": entry.timestamp,
        "transaction_hash": entry.tx_hash,
        "amount_usdc": entry.size / MICRO if moved else None,
        "payout_usdc": entry.usdc / MICRO if entry.type == "REDEEM" else None,
        "legs": [
            _leg(index, leg, catalogue, at) for index, leg in enumerate(combo.legs if combo else ())
        ],
    }


def _leg(index: int, leg: Leg, catalogue: Catalogue, at: float) -> dict[str, Any]:
    market = catalogue.condition(leg.condition_id)
    ended = market is not None and market.resolved(at)
    price = market.price(leg.outcome, at) if market else 0
    status = ENDED.get(price, "RESOLVED_PARTIAL") if ended else "OPEN"
    row: dict[str, Any] = {
        "leg_index": index,
        "leg_position_id": market.tokens[leg.outcome] if market else "",
        "leg_condition_id": leg.condition_id,
        "leg_outcome_index": leg.outcome,
        "leg_outcome_label": OUTCOMES[leg.outcome],
        "leg_status": status,
        "leg_resolved_at": None,
        "leg_current_price": price / MICRO if market else None,
        "market": None,
    }
    if market and market.resolved_at and ended:
        moment = datetime.fromtimestamp(market.resolved_at, UTC)
        row["leg_resolved_at"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if market:
        row["market"] = {
            "market_id": str(market.number),
            "slug": market.slug,
            "question": market.question,
            "outcomes": list(OUTCOMES),
            "outcome": OUTCOMES[leg.outcome],
            "category": market.category,
            "event": {
                "event_id": str(market.event_id),
                "event_slug": market.event_slug,
                "event_title": market.event_title,
            },
        }
    return row


def token_rows(combo: Combo, catalogue: Catalogue, at: float, lag: float) -> list[dict[str, Any]]:
    """A combo's tokens as `/v2/tokens` serves them: no market, no event, no order book."""
    if combo.created > at - lag:
        return []
    ended = combo.ended(catalogue.condition, at)
    return [
        {
            "token_id": token,
            "condition_id": combo.condition_id,
            "structural_condition_id": combo.condition_id,
            "module": "combo",
            "outcome_index": index,
            "clob_index": None,
            "outcome": OUTCOMES[index],
            "opposite_token_id": combo.tokens[1 - index],
            "resolved": ended is not None,
            "final_price": abs(index * MICRO - ended[1]) / MICRO if ended else None,
            "title": combo.title,
            "market_slug": None,
            "closed": ended is not None,
            "neg_risk": None,
            "neg_risk_market_id": None,
            "question_index": None,
            "event_id": None,
            "event_slug": None,
        }
        for index, token in enumerate(combo.tokens)
    ]
