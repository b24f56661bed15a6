"""What the old job leaves behind: files of trades, and rows of its checkpoint."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from polycopy_assets.demo.world import Trade
from polycopy_assets_tests.deployment import Deployment

COLUMNS = (
    "wallet_address {text}, completed BOOL, processed_at TIMESTAMP, trade_count INT64,"
    " gcs_file {text}, upload_successful BOOL"
)


def upper(wallet: str) -> str:
    """The wallet in another case."""
    return "0x" + wallet[2:].upper()


def old_line(trade: Trade) -> dict[str, Any]:
    """A trade as the old job wrote it."""
    return {
        "id": trade.order_hash,
        "condition_id": trade.condition_id,
        "wallet_address": trade.served_wallet,
        "timestamp": f"{datetime.fromtimestamp(trade.timestamp, UTC):%F %T}",
        "side": trade.side,
        "price": trade.price,
        "shares_normalized": trade.size,
        "token_label": trade.outcome,
        "token_id": trade.token_id,
        "tx_hash": trade.tx_hash,
    }


def old_file(trades: Sequence[Trade]) -> bytes:
    """A file of the old job."""
    return "".join(json.dumps(old_line(trade)) + "\n" for trade in trades).encode()


class OldJob:
    """An old job that worked beside `deployment`; `tick` collects rows, `write` writes them."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.rows: list[str] = []

    def put(self, wallet: str, content: bytes) -> None:
        """The file of a wallet; the name in the case given."""
        self.deployment.store.create(f"trades/{wallet}.jsonl", content)

    def tick(
        self,
        wallet: str | None,
        count: int | None = None,
        *,
        at: int | None = None,
        completed: bool | None = True,
        uploaded: bool | None = True,
        file: str | None = None,
    ) -> None:
        """A row of the checkpoint."""
        values = (
            _text(wallet),
            _bool(completed),
            "NULL" if at is None else f"TIMESTAMP '{datetime.fromtimestamp(at, UTC):%F %T}'",
            "NULL" if count is None else str(count),
            _text(file),
            _bool(uploaded),
        )
        self.rows.append(f"({', '.join(values)})")

    def write(self) -> None:
        """The checkpoint's table, with what was collected."""
        text = "VARCHAR" if self.deployment.settings.warehouse.endswith(".duckdb") else "STRING"
        columns = COLUMNS.format(text=text)
        self.deployment.execute(f"CREATE TABLE IF NOT EXISTS {{}}backfill_checkpoint ({columns})")
        if self.rows:
            self.deployment.execute(
                f"INSERT INTO {{}}backfill_checkpoint VALUES {', '.join(self.rows)}"
            )
        self.rows.clear()


def _text(value: str | None) -> str:
    return "NULL" if value is None else f"'{value}'"


def _bool(value: object) -> str:
    return "NULL" if value is None else str(value).upper()
