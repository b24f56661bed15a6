"""The table `leaderboard`: its columns in their order, with what they mean."""

import polars as pl

from polycopy_assets.trades.columns import Relation

TABLE = "leaderboard"

COLUMNS: dict[str, tuple[pl.DataType, str]] = {
    "snapshot_at": (pl.Datetime("us", "UTC"), "when the board was read, by the source's clock"),
    "time_period": (pl.String(), "day, week, month or all; only all is realized PnL"),
    "sort_by": (pl.String(), "pnl or volume: what ranks the board"),
    "category": (pl.String(), "overall, or a category such as politics"),
    "rank": (pl.Int64(), "from 1; ties share a rank"),
    "wallet_address": (pl.String(), "the wallet, lower case; once in a snapshot"),
    "user_name": (pl.String(), "the name that the person chose, unchanged: not safe to print"),
    "pnl_usdc": (pl.Float64(), "USDC; null if unavailable"),
    "volume_shares": (pl.Float64(), "shares, both sides, never USD; null if unavailable"),
}

RELATION = Relation(
    "Snapshots of the source's leaderboard: a row is one wallet in one of them.",
    {name: f"{meaning[0].upper()}{meaning[1:]}." for name, (_, meaning) in COLUMNS.items()},
)
"""What the table and its columns mean, as sentences."""

SCHEMA: dict[str, pl.DataType] = {name: kind for name, (kind, _) in COLUMNS.items()}
