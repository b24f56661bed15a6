"""The views on a feed's table and the tables `tokens` and `markets`.

They are made as soon as all tables that they need are there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from polycopy_assets.feeds.activity.columns import ACTIVITY as LEDGER
from polycopy_assets.feeds.activity.feed import ACTIVITY
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.feeds.trades.columns import TRADES as FILLS
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.trades.columns import Relation

DIMENSION_TABLES = frozenset({"tokens", "markets"})
_MADE_BY: Mapping[str, str] = {
    "traders": "`polycopy wallets add` makes",
    "leaderboard": "the asset `leaderboard` makes",
    **{
        feed.table: "`polycopy backfill` makes"
        + ("" if feed.bare else f" with POLYCOPY_FEEDS={TRADES.name},{feed.name}")
        for feed in FEEDS.values()
    },
    "tokens": "`polycopy markets` makes",
    "markets": "`polycopy markets` makes",
}


class Joined(NamedTuple):
    """A view on the table of `feed` that also `needs` others, and what it and its columns mean."""

    feed: Feed
    needs: frozenset[str]
    relation: Relation


@cache
def joined() -> Mapping[str, Joined]:
    """The views by name, with the columns in their order."""
    # polars: what only reads a count does without it.
    from polycopy_assets.dimensions.columns import DIMENSIONS  # noqa: PLC0415

    tokens, markets = (DIMENSIONS[name][1].columns for name in ("tokens", "markets"))
    now = {
        "outcome": tokens["outcome"],
        **{
            name: markets[name]
            for name in ("category", "tags", "event_id", "neg_risk", "end_date", "closed")
        },
        "is_resolved": tokens["resolved"],
        "payout": tokens["final_price"],
    }
    token = {
        name: tokens[name]
        for name in ("outcome_index", "outcome", "title", "market_slug", "event_slug")
    }
    of_row = ("wallet_address", "id", "sequence", "timestamp")
    return {
        "trades_named": Joined(
            TRADES,
            DIMENSION_TABLES,
            Relation("Every trade, with what is known now of its market.", {**FILLS, **now}),
        ),
        "activity_named": Joined(
            ACTIVITY,
            DIMENSION_TABLES,
            Relation("Every row of activity, with what is known now of it.", {**LEDGER, **now}),
        ),
        "redemptions": Joined(
            ACTIVITY,
            frozenset({"tokens"}),
            Relation(
                "Every redemption: shares of a resolved market that became cash, or nothing.",
                {
                    **{name: LEDGER[name] for name in of_row},
                    "condition_id": LEDGER["condition_id"],
                    "token_id": "The token that was redeemed; null where it cannot be told.",
                    **token,
                    "is_combo": LEDGER["is_combo"],
                    "shares": "Shares that were redeemed; six digits.",
                    "usdc": "USDC that they paid; 0 for the losing side.",
                    "is_paid": "Whether they paid anything.",
                    "tx_hash": LEDGER["tx_hash"],
                },
            ),
        ),
        "open_exposure": Joined(
            ACTIVITY,
            frozenset({"tokens"}),
            Relation(
                "What each wallet holds: a row for each wallet and token, by the rows of activity.",
                {
                    "wallet_address": LEDGER["wallet_address"],
                    "token_id": tokens["token_id"],
                    "condition_id": tokens["condition_id"],
                    **token,
                    "is_combo": LEDGER["is_combo"],
                    "shares": "Shares that it holds; below 0 if rows are missing, null if unsaid.",
                    "is_resolved": tokens["resolved"],
                    "price": "USDC a share: what it pays if resolved, else its last price here.",
                    "value_usdc": "shares times price, in USDC; null where there is no price.",
                    "is_exact": "Whether each row that moved shares of it says how many of which.",
                },
            ),
        ),
    }


def ready(feeds: Iterable[Feed], there: Collection[str]) -> Iterator[tuple[str, Joined]]:
    """The views on the tables of `feeds` that can be made of the tables `there`."""
    every = set(feeds)
    for name, view in joined().items():
        if view.feed in every and view.needs | {view.feed.table} <= set(there):
            yield name, view


def no_table(name: str, where: str) -> str:
    """That there is no table `name`, one of ours, in `where`, and what makes it."""
    return f"there is no table {name} in {where} yet, which {_MADE_BY[name]}"


def lacking(name: str, there: Collection[str], where: str) -> str | None:
    """Why there is no view or table `name` in `where`, and what makes it; None if not one of ours.

    `there` are the tables that are there.
    """
    if name in _MADE_BY:
        return no_table(name, where)
    view = joined().get(name)
    if view is None:
        return None
    needed = [table for table in _MADE_BY if table in view.needs | {view.feed.table}]
    lacked = [f"table {table}, which {_MADE_BY[table]}" for table in needed if table not in there]
    needs = ", and ".join(lacked) or "to be made, which the next load or `polycopy markets` does"
    return f"there is no view {name} in {where} yet: it needs {needs}"
