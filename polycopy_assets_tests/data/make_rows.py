"""Makes `rows/`: rows in the shapes of both sources, modelled on recorded ones, all made up.

    python -m polycopy_assets_tests.data.make_rows

See `PROVENANCE.md`. Unlike the sample API's they are written as the sources write them: whole sizes
as integers, dust, texts beyond ASCII, one transaction in several rows, many in one second.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

FOLDER = Path(__file__).parent / "rows"
_START = 1_767_225_600
_TITLES = ("Will it rain in Zürich on May 3?", "O\u2019Neill vs. Peña", "Up or Down: 4:15 PM ET")
_LABELS = ("Yes", "No", "Up", "Down", "Over", "Under", "Peña")


def v2_rows(rng: random.Random, wallet: str, count: int) -> list[dict[str, Any]]:
    """`count` rows of Data API v2, newest first."""
    rows: list[dict[str, Any]] = []
    second = _START
    while len(rows) < count:
        second += rng.choice((0, 0, 0, 1, 7, 300))
        tx_hash, row = _hex(rng, 64), _v2_row(rng, wallet, second)
        for fill in range(rng.choice((1, 1, 1, 2, 10))):
            row = row if fill and rng.random() < 0.5 else _v2_row(rng, wallet, second)
            rows.append({**row, "transaction_hash": tx_hash})
    return sorted(rows[:count], key=lambda row: -row["timestamp"])


def _v2_row(rng: random.Random, wallet: str, second: int) -> dict[str, Any]:
    market = rng.randrange(len(_TITLES))
    outcome = rng.randrange(2)
    return {
        "proxy_wallet": wallet,
        "side": rng.choice(("BUY", "SELL")),
        "token_id": str(10**76 + 2 * market + outcome),
        "condition_id": f"0x{market:064x}",
        "size": _size(rng),
        "price": rng.choice((0.999, 0.01, round(rng.random(), 3), rng.random())),
        "timestamp": second,
        "title": _TITLES[market],
        "slug": f"market-{market}",
        "icon": "",
        "event_slug": f"event-{market}",
        "outcome": _LABELS[2 * market + outcome],
        "outcome_index": outcome,
        "name": "",
        "pseudonym": "",
        "bio": "",
        "profile_image": "",
        "profile_image_optimized": "",
        "transaction_hash": "",
    }


def dome_orders(rng: random.Random, wallets: list[str], count: int) -> Iterator[dict[str, Any]]:
    """`count` of Dome's orders, all 16 fields, newest first."""
    for number in range(count):
        size, market = _size(rng), rng.randrange(len(_TITLES))
        second = _START + 5 * (count - number) // 3
        yield {
            "side": "BUY",
            "user": rng.choice(wallets),
            "price": round(rng.random(), 2),
            "taker": _hex(rng, 40),
            "title": _TITLES[market],
            "shares": round(size * 1_000_000),
            "tx_hash": _hex(rng, 64),
            "token_id": str(10**76 + market),
            "log_index": rng.randrange(1500),
            "timestamp": second,
            "order_hash": _hex(rng, 64),
            "market_slug": f"market-{market}",
            "token_label": rng.choice(_LABELS),
            "block_number": second // 2,
            "condition_id": f"0x{market:064x}",
            "shares_normalized": size,
        }


def _size(rng: random.Random) -> float:
    """Shares: whole ones as integers, some below a hundredth."""
    return rng.choice((5, 100, round(rng.lognormvariate(2, 2), 6), round(rng.random() / 100, 6)))


def _hex(rng: random.Random, digits: int) -> str:
    return f"0x{rng.getrandbits(4 * digits):0{digits}x}"


def main() -> None:
    """Writes the files."""
    rng = random.Random(1)
    FOLDER.mkdir(exist_ok=True)
    for wallet in (_hex(rng, 40), _hex(rng, 40)):
        _write(f"v2_trades_{wallet}.jsonl", v2_rows(rng, wallet, 150))
    wallets = [_hex(rng, 40) for _ in range(3)]
    _write("dome_orders.jsonl", dome_orders(rng, wallets, 200))


def _write(name: str, rows: Any) -> None:
    (FOLDER / name).write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


if __name__ == "__main__":
    main()
