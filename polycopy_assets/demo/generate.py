"""Generated wallets: the same for the same seed, and as awkward as real ones."""

import random
from collections.abc import Iterator

import msgspec

from polycopy_assets.demo.world import SMALLEST_SHARES, Trade, World

FIRST = 1_640_995_200
"""2022-01-01: some trades are older than the three years that a client without `start` gets."""
LAST = 1_790_812_800
"""2026-10-01."""
BUSIEST_SECOND = 48
MOST_FILLS = 10


class Market(msgspec.Struct, frozen=True):
    """A market with two outcomes."""

    condition_id: str
    tokens: tuple[str, str]
    title: str
    slug: str


def generate(
    seed: int, wallets: int, *, whales: int = 0, whale_trades: int = 0, most_trades: int = 300
) -> World:
    """A world of `wallets` wallets, of which `whales` have `whale_trades` trades.

    The others have up to `most_trades`, most of them few; one in twenty has none.
    """
    rng = random.Random(seed)
    markets = [_market(rng, number) for number in range(40)]
    world = World()
    for number in range(wallets):
        address = _address(rng)
        world.add_wallet(address)
        if number < whales:
            size = whale_trades
        elif number % 20 == 10:
            size = 0
        else:
            size = 1 + int(most_trades * rng.random() ** 4)
        served = address if number % 3 else address.lower()
        world.add(_trades(rng, markets, served, size))
    return world


def _trades(rng: random.Random, markets: list[Market], wallet: str, size: int) -> Iterator[Trade]:
    times = sorted(rng.randrange(FIRST, LAST) for _ in range(max(size // 3, 1)))
    made = 0
    for second in times:
        burst = BUSIEST_SECOND if rng.random() < 0.005 else rng.choice((1, 1, 2, 3, 8))
        burst_end = min(made + burst, size)
        while made < burst_end:
            fills = min(rng.choice((1, 1, 1, 2, 3, MOST_FILLS)), burst_end - made)
            yield from _transaction(rng, rng.choice(markets), wallet, second, made, fills)
            made += fills
    last = times[-1]
    while made < size:
        last += 1
        yield from _transaction(rng, rng.choice(markets), wallet, last, made, 1)
        made += 1


def _transaction(
    rng: random.Random, market: Market, wallet: str, second: int, sequence: int, fills: int
) -> Iterator[Trade]:
    """Fills of one transaction; about half of them are twins of the one before."""
    tx_hash = f"0x{rng.getrandbits(256):064x}"
    size, price, outcome, side = 0.0, 0.0, 0, "BUY"
    for fill in range(fills):
        if fill == 0 or rng.random() < 0.5:
            size = round(rng.lognormvariate(3, 2), 6) + 0.01
            price = round(rng.uniform(0.01, 0.99), 3)
            outcome = rng.randrange(2)
            side = "BUY" if rng.random() < 0.6 else "SELL"
        dust = rng.random() < 0.002
        yield Trade(
            served_wallet=wallet,
            timestamp=second,
            sequence=sequence + fill,
            tx_hash=tx_hash,
            log_index=10 * sequence + fill,
            side=side,
            token_id=market.tokens[outcome],
            condition_id=market.condition_id,
            size=SMALLEST_SHARES / 2 if dust else size,
            dust=dust,
            price=price,
            outcome=("Yes", "No")[outcome],
            outcome_index=outcome,
            title=market.title,
            slug=market.slug,
            maker=rng.random() < 0.5,
            order_hash=f"0x{rng.getrandbits(256):064x}",
            taker=f"0x{rng.getrandbits(160):040x}",
        )


def _market(rng: random.Random, number: int) -> Market:
    return Market(
        condition_id=f"0x{rng.getrandbits(256):064x}",
        tokens=(str(rng.randrange(10**76, 10**77)), str(rng.randrange(10**76, 10**77))),
        title=f"Will sample market {number} resolve to Yes?",
        slug=f"sample-market-{number}",
    )


def _address(rng: random.Random) -> str:
    digits = f"{rng.getrandbits(160):040x}"
    return "0x" + "".join(c.upper() if rng.random() < 0.5 else c for c in digits)
