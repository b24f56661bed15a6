"""Generated markets: single ones, and events whose questions share their risk."""

import random
from collections.abc import Iterator, Mapping

from polycopy_assets.demo import awkward
from polycopy_assets.demo.awkward import FIRST, LAST
from polycopy_assets.demo.entry import MICRO
from polycopy_assets.demo.market import MarketFacts

FEES: Mapping[str, int] = {
    "crypto": 700,
    "sports": 300,
    "politics": 400,
    "finance": 400,
    "weather": 500,
    "culture": 500,
    "geopolitics": 0,
}
"""By category: the rate of the taker's fee, in ten-thousandths."""

DAY = 86_400
LONGEST = 500 * DAY
LARGEST_EVENT = 6
VOID = (MICRO // 2, MICRO // 2)


def generate_markets(rng: random.Random, markets: int) -> list[MarketFacts]:
    """`markets` markets, nearly half of them questions of negative-risk events; oldest first.

    Of those that have ended, most are resolved; a few of these pay half to either side.
    """
    made: list[MarketFacts] = []
    event = 1000
    while len(made) < markets:
        event += 1
        several = rng.random() < 0.15 and markets - len(made) >= 3
        questions = min(rng.randint(3, LARGEST_EVENT), markets - len(made)) if several else 1
        made += _event(rng, event, len(made), questions)
    return sorted(made, key=lambda market: (market.created, market.number))


def _event(rng: random.Random, event: int, first: int, questions: int) -> Iterator[MarketFacts]:
    """The markets of one event: of several questions exactly one comes true."""
    created = rng.randrange(FIRST - 30 * DAY, LAST - 20 * DAY)
    ends = created + rng.randrange(DAY, LONGEST)
    category = rng.choice(tuple(FEES))
    neg_risk_id = f"0x{rng.getrandbits(256):064x}" if questions > 1 else ""
    resolved_at = ends + rng.randrange(600, 3 * DAY)
    known = resolved_at < LAST - DAY and rng.random() < 0.95
    true = rng.randrange(questions)
    disputed = rng.random() < 0.05
    for index in range(questions):
        number = first + index
        about = f"question {index} of sample event {event}" if neg_risk_id else f"sample {number}"
        yes = index == true if questions > 1 else rng.random() < 0.5
        payouts = (MICRO, 0) if yes else (0, MICRO)
        if questions == 1 and rng.random() < 0.03:
            payouts = VOID
        yield MarketFacts(
            number=500_000 + number,
            condition_id=f"0x{rng.getrandbits(256):064x}",
            tokens=(awkward.token_id(rng), awkward.token_id(rng)),
            question=f"Will {about} resolve to Yes?",
            slug=f"sample-market-{number}",
            category=category,
            event_id=event,
            event_slug=f"sample-event-{event}",
            event_title=f"Sample event {event}",
            neg_risk_id=neg_risk_id,
            question_index=index,
            created=created,
            ends=ends,
            resolved_at=resolved_at if known else None,
            payouts=payouts if known else None,
            fee=FEES[category],
            last_price=rng.randint(10, 990),
            disputed=disputed,
            crossed=rng.random() < 0.05,
        )
