"""The tables `tokens` and `markets`: their columns in their order, with what they mean."""

from collections.abc import Mapping

import polars as pl

from polycopy_assets.trades.columns import Relation

_TIME = pl.Datetime("us", "UTC")
_AMOUNT = pl.Decimal(38, 9)

_VALID: dict[str, tuple[pl.DataType, str]] = {
    "valid_from": (_TIME, "When the source first said this, by its clock, UTC."),
    "valid_until": (_TIME, "When it first said otherwise; null: it still does."),
}

TOKENS: dict[str, tuple[pl.DataType, str]] = {
    "token_id": (pl.String(), "The outcome's token, decimal digits, as in trades."),
    "condition_id": (pl.String(), "The market's condition, lower case, as in trades."),
    "outcome_index": (pl.Int64(), "The outcome's place on chain, from 0."),
    "outcome": (pl.String(), "The outcome's name."),
    "clob_index": (pl.Int64(), "Its place in the order book, which may be another one."),
    "opposite_token_id": (pl.String(), "The token of the other outcome."),
    "module": (pl.String(), "The contract: v1_ctf, binary, neg_risk or combo."),
    "structural_condition_id": (pl.String(), "The condition that the contract uses itself."),
    "neg_risk": (pl.Boolean(), "Whether its market is one of an event of which one can win."),
    "neg_risk_market_id": (pl.String(), "That event on chain."),
    "question_index": (pl.Int64(), "The market's place in that event, from 0."),
    "title": (pl.String(), "The market's question."),
    "market_slug": (pl.String(), "The market's name in its address on polymarket.com."),
    "event_id": (pl.String(), "The event's number."),
    "event_slug": (pl.String(), "The event's name in its address on polymarket.com."),
    "resolved": (pl.Boolean(), "Whether it is known what a share pays."),
    "final_price": (_AMOUNT, "USDC that a share pays; null until it is resolved."),
    **_VALID,
}

MARKETS: dict[str, tuple[pl.DataType, str]] = {
    "condition_id": (pl.String(), "The market's condition, lower case, as in trades."),
    "known": (pl.Boolean(), "Whether the source knows it; if not, only this column is filled."),
    "question_id": (pl.String(), "The question that the oracle is asked."),
    "market_slug": (pl.String(), "The market's name in its address on polymarket.com."),
    "question": (pl.String(), "The market's question."),
    "category": (pl.String(), "The market's category."),
    "tags": (pl.String(), "The market's tags, a JSON array of names."),
    "event_id": (pl.String(), "The event's number."),
    "event_slug": (pl.String(), "The event's name in its address on polymarket.com."),
    "neg_risk": (pl.Boolean(), "Whether it is one of an event of which one can win."),
    "start_date": (_TIME, "When it opened, UTC."),
    "end_date": (_TIME, "When it was planned to end, UTC."),
    "closed": (pl.Boolean(), "Whether trading has ended."),
    "closed_time": (_TIME, "When trading ended, UTC."),
    "fees_enabled": (pl.Boolean(), "Whether takers pay a fee."),
    "fee_rate": (_AMOUNT, "The fee is shares * fee_rate * (price * (1 - price)) ^ fee_exponent."),
    "fee_exponent": (_AMOUNT, "See fee_rate."),
    "fee_taker_only": (pl.Boolean(), "Whether makers pay none."),
    "fee_rebate_rate": (_AMOUNT, "The part of fees that makers get back."),
    "resolution_status": (pl.String(), "How far the resolution is: resolved at its end."),
    "payout_0": (_AMOUNT, "USDC that a share of outcome 0 pays."),
    "payout_1": (_AMOUNT, "USDC that a share of outcome 1 pays."),
    "resolved_at": (_TIME, "When it was resolved, UTC."),
    "resolved_block": (pl.Int64(), "The block in which it was resolved."),
    "was_disputed": (pl.Boolean(), "Whether a proposed result was disputed."),
    "was_arbitrated": (pl.Boolean(), "Whether an arbitrator decided."),
    "reporter": (pl.String(), "Who reported the result: UMA_OO, CHAINLINK or EOA."),
    "resolution_source": (pl.String(), "reported, or derived by the source itself."),
    **_VALID,
}

DIMENSIONS: Mapping[str, tuple[Mapping[str, tuple[pl.DataType, str]], Relation]] = {
    name: (columns, Relation(meaning, {column: text for column, (_, text) in columns.items()}))
    for name, columns, meaning in (
        ("tokens", TOKENS, "The outcomes' tokens: a row is what the source said of one, and when."),
        ("markets", MARKETS, "The markets: a row is what the source said of one, and when."),
    )
}
"""The columns of each table, and what it and they mean."""


def schema(name: str) -> dict[str, pl.DataType]:
    """The types of the columns of table `name`, in their order."""
    return {column: kind for column, (kind, _) in DIMENSIONS[name][0].items()}
