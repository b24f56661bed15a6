"""What generated wallets have in common: times, addresses, and what is awkward about them."""

import random

FIRST = 1_640_995_200
"""2022-01-01: some trades are older than the three years that a client without `start` gets."""
LAST = 1_790_812_800
"""2026-10-01."""
BUSIEST_SECOND = 48
MOST_FILLS = 10


def address(rng: random.Random) -> str:
    """An address in mixed case."""
    digits = f"{rng.getrandbits(160):040x}"
    return "0x" + "".join(c.upper() if rng.random() < 0.5 else c for c in digits)


def wallet_size(
    rng: random.Random, number: int, *, whales: int, whale_trades: int, most_trades: int
) -> int:
    """How many trades the wallet `number` has: most have few, one in twenty has none."""
    if number < whales:
        return whale_trades
    if number % 20 == 10:
        return 0
    return 1 + int(most_trades * rng.random() ** 4)


def burst(rng: random.Random) -> int:
    """How many trades a wallet makes in one second."""
    return BUSIEST_SECOND if rng.random() < 0.005 else rng.choice((1, 1, 2, 3, 8))


def fills(rng: random.Random) -> int:
    """How many fills a transaction has."""
    return rng.choice((1, 1, 1, 2, 3, MOST_FILLS))


def tx_hash(rng: random.Random) -> str:
    """The hash of a transaction."""
    return f"0x{rng.getrandbits(256):064x}"


def token_id(rng: random.Random) -> str:
    """The id of a token: a number of 77 digits."""
    return str(rng.randrange(10**76, 10**77))
