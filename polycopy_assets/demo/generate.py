"""Generated wallets: the same for the same seed, and as awkward as real ones."""

import random
from collections.abc import Iterator

import msgspec

from polycopy_assets.demo import awkward
from polycopy_assets.demo.awkward import FIRST, LAST
from polycopy_assets.demo.ledger.generate import generate_ledgers
from polycopy_assets.demo.world import SMALLEST_SHARES, Trade, World


class Market(msgspec.Struct, frozen=True):
    """A market with two outcomes."""

    condition_id: str
    tokens: tuple[str, str]
    title: str
    slug: str


def generate(
    seed: int,
    wallets: int,
    *,
    whales: int = 0,
    whale_trades: int = 0,
    most_trades: int = 300,
    ledgers: bool = False,
    markets: int = 40,
) -> World:
    """A world of `wallets` wallets, of which `whales` have `whale_trades` trades.

    The others have up to `most_trades`, most of them few; one in twenty has none. With `ledgers`
    each wallet has a whole ledger, and the markets are known: other trades, but as awkward.
    """
    rng = random.Random(seed)
    sizes = {"whales": whales, "whale_trades": whale_trades, "most_trades": most_trades}
    if ledgers:
        return generate_ledgers(rng, wallets, markets, **sizes)
    there_are = [_market(rng, number) for number in range(markets)]
    world = World()
    for number in range(wallets):
        address = awkward.address(rng)
        world.add_wallet(address)
        size = awkward.wallet_size(rng, number, **sizes)
        served = address if number % 3 else address.lower()
        world.add(_trades(rng, there_are, served, size))
    return world


def _trades(rng: random.Random, markets: list[Market], wallet: str, size: int) -> Iterator[Trade]:
    times = sorted(rng.randrange(FIRST, LAST) for _ in range(max(size // 3, 1)))
    made = 0
    for second in times:
        burst_end = min(made + awkward.burst(rng), size)
        while made < burst_end:
            fills = min(awkward.fills(rng), burst_end - made)
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
    tx_hash = awkward.tx_hash(rng)
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
        tokens=(awkward.token_id(rng), awkward.token_id(rng)),
        title=f"Will sample market {number} resolve to Yes?",
        slug=f"sample-market-{number}",
    )
