"""Worlds of rows that Data API v2 served."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from polycopy_assets.demo.combos import Event
from polycopy_assets.demo.entry import MICRO, Entry
from polycopy_assets.demo.world import Trade, World


def from_v2_rows(rows: Sequence[dict[str, Any]], sequence: int = 0) -> list[Trade]:
    """Trades from rows of Data API v2, newest first as they stand there.

    Data that such rows lack is made up: every second fill is the maker's.
    """
    return [
        Trade(
            served_wallet=row["proxy_wallet"],
            timestamp=row["timestamp"],
            sequence=sequence - number,
            tx_hash=row["transaction_hash"],
            log_index=len(rows) - number,
            side=row["side"],
            token_id=row["token_id"],
            condition_id=row["condition_id"],
            size=row["size"],
            price=row["price"],
            outcome=row["outcome"],
            outcome_index=row["outcome_index"],
            title=row["title"],
            slug=row["slug"],
            maker=number % 2 == 0,
            order_hash="0x" + "0" * 64,
            taker="0x" + "0" * 40,
        )
        for number, row in enumerate(rows)
    ]


def load_directory(directory: Path) -> World:
    """The world of all `*.jsonl` files in `directory` whose rows are those of Data API v2.

    Rows that have a combo's condition are those of `/v2/activity/combos`, others that have a type
    are activity, the others are trades: a file has rows of one kind. Of a wallet whose activity is
    in several files, that in the first ones by name is the newest. Raises ValueError if there is
    none.
    """
    world = World()
    ledgers: dict[str, list[Entry]] = {}
    read = 0
    for path in sorted(directory.glob("*.jsonl")):
        rows = [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line]
        if rows and "proxy_wallet" in rows[0]:
            if "combo_condition_id" in rows[0]:
                world.combos.record(from_combo_rows(rows))
            elif "type" in rows[0]:
                # A file may have the rows of several wallets, and a wallet rows in several files.
                for entry in from_activity_rows(rows, -read):
                    ledgers.setdefault(entry.wallet, []).append(entry)
                read += len(rows)
            else:
                world.add(from_v2_rows(rows))
    for entries in ledgers.values():
        world.add_ledger(entries[0].served_wallet, entries)
    for wallet in world.combos.wallets:
        world.add_wallet(wallet)
    if not world.wallets():
        raise ValueError(f"no *.jsonl file with Data API v2 rows in {directory}")
    return world


def from_combo_rows(rows: Sequence[dict[str, Any]]) -> list[Event]:
    """Events from rows of `/v2/activity/combos`; the end of an id is the place in the block."""
    return [
        Event(
            row["block_number"],
            int(row["id"].rpartition("-")[2]),
            Entry(
                served_wallet=row["proxy_wallet"],
                timestamp=row["timestamp"],
                sequence=0,
                tx_hash=row["transaction_hash"],
                type=row["type"],
                condition_id=row["combo_condition_id"],
                is_combo=True,
                raw=row,
            ),
        )
        for row in rows
    ]


def from_activity_rows(rows: Sequence[dict[str, Any]], sequence: int = 0) -> list[Entry]:
    """Entries from rows of `/v2/activity`, newest first as they stand there.

    Such rows do not tell makers from takers: every second fill is the maker's.
    """
    return [
        Entry(
            served_wallet=row["proxy_wallet"],
            timestamp=row["timestamp"],
            sequence=sequence - number,
            tx_hash=row["transaction_hash"],
            type=row["type"],
            size=round(row["size"] * MICRO),
            usdc=round(row["usdc_size"] * MICRO),
            price=row["price"],
            served_size=row["size"],
            side=row["side"],
            token_id=row["token_id"],
            condition_id=row["condition_id"],
            outcome=row["outcome"],
            outcome_index=row["outcome_index"],
            title=row["title"],
            slug=row["slug"],
            event_slug=row["event_slug"],
            maker=number % 2 == 0,
            is_combo=row.get("is_combo", False),
            raw=row,
        )
        for number, row in enumerate(rows)
    ]
