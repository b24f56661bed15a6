"""Generated wallets with whole ledgers: as awkward as real ones, and consistent to the last digit.

A wallet trades, and between its trades does all that moves cash or shares. It pays in before it
spends, and sells, merges, converts and redeems only what it has. Part of what is resolved it never
redeems, as real people do with what they lost.
"""

import itertools
import random
from collections.abc import Iterator, Sequence

from polycopy_assets.demo import awkward
from polycopy_assets.demo.awkward import LAST
from polycopy_assets.demo.combos import REPACKED, Combo, Leg
from polycopy_assets.demo.entry import INCOME
from polycopy_assets.demo.ledger.book import Book, cost
from polycopy_assets.demo.ledger.exits import Exits
from polycopy_assets.demo.ledger.markets import DAY, generate_markets
from polycopy_assets.demo.market import MarketFacts
from polycopy_assets.demo.world import World

MOST_TRIES = 20
"""How many markets a wallet looks at to find one that trades."""

MOST_LOOKED_AT = 100
"""Among how many tokens a wallet looks for some to merge or to convert."""

COMES_FALSE = 0.25
"""How often a combination is bought that is to come false."""

UNLABELLED_ONE_IN = 50
DUST_ONE_IN = 500


def generate_ledgers(
    rng: random.Random,
    wallets: int,
    markets: int,
    *,
    whales: int,
    whale_trades: int,
    most_trades: int,
) -> World:
    """A world whose wallets have ledgers, and whose markets are known."""
    world = World()
    exchange = Exchange(generate_markets(rng, markets))
    world.markets = exchange.by_condition
    for number in range(wallets):
        address = awkward.address(rng)
        world.add_wallet(address)
        size = awkward.wallet_size(
            rng, number, whales=whales, whale_trades=whale_trades, most_trades=most_trades
        )
        book = Book(address if number % 3 else address.lower())
        if size:
            _Life(rng, exchange, book).live(size)
        world.add_ledger(address, book.entries, book.standing)
        world.combos.repack(address, book.repacked)
        world.combos.known |= exchange.combos
    return world


class Exchange:
    """All markets, and which of them trade at a time."""

    def __init__(self, markets: Sequence[MarketFacts]) -> None:
        self._markets = markets
        self.by_condition = {market.condition_id: market for market in markets}
        self.by_token = {t: market for market in markets for t in market.tokens}
        self.combos: dict[str, Combo] = {}
        self.events: dict[str, list[MarketFacts]] = {}
        for market in sorted(markets, key=lambda m: m.question_index):
            self.events.setdefault(market.neg_risk_id, []).append(market)

    def any(self, rng: random.Random) -> MarketFacts:
        """A market."""
        return rng.choice(self._markets)

    def any_open(self, rng: random.Random, second: int) -> MarketFacts | None:
        """A market that trades at that time, if one is found soon."""
        for _ in range(MOST_TRIES):
            market = self.any(rng)
            if market.created <= second < market.ends:
                return market
        return None


class _Life:
    """One wallet from its first trade to its last redemption."""

    def __init__(self, rng: random.Random, exchange: Exchange, book: Book) -> None:
        self._rng = rng
        self._exchange = exchange
        self._book = book
        self._exits = Exits(rng, book)
        self._combos: list[tuple[Combo, int]] = []

    def live(self, size: int) -> None:
        """Makes `size` fills in the order book, and whatever goes with them."""
        made = 0
        moments = self._moments(size)
        for number, (second, market) in enumerate(moments):
            self._exits.redeem_until(second)
            burst = max(awkward.burst(self._rng), -(-(size - made) // (len(moments) - number)))
            burst_end = min(made + burst, size)
            while made < burst_end:
                fills = min(awkward.fills(self._rng), burst_end - made)
                self._trade(self._exchange.any_open(self._rng, second) or market, second, fills)
                made += fills
            self._beside(second + 1, market)
            if made == size:
                break
        self._exits.redeem_until(LAST)
        for combo, outcome in self._combos:
            if self._rng.random() < 0.8:
                _, tx_hash = self._when(0)
                delay = int(self._rng.random() * DAY)
                if ended := combo.ended(self._exchange.by_condition.get, LAST):
                    when = max(ended[0] + delay, self._latest()), tx_hash
                    self._book.redeem_combo(when, combo, outcome, ended[1])

    def _moments(self, size: int) -> list[tuple[int, MarketFacts]]:
        """Times of trades, and a market that trades then; in between is a second for the rest."""
        moments: dict[int, MarketFacts] = {}
        for _ in range(max(size // 3, 1)):
            market = self._exchange.any(self._rng)
            ends = min(market.ends, LAST - DAY)
            moments[self._rng.randrange(market.created + 1, ends) // 2 * 2] = market
        return sorted(moments.items())

    def _latest(self) -> int:
        return self._book.entries[-1].timestamp

    def _when(self, second: int) -> tuple[int, str]:
        """A new transaction at that time."""
        return second, awkward.tx_hash(self._rng)

    def _trade(self, market: MarketFacts, second: int, fills: int) -> None:
        """Fills of one transaction; about half of them are twins of the one before."""
        rng, book = self._rng, self._book
        when = self._when(second)
        orders: list[tuple[int, bool, int, int]] = []
        planned = dict.fromkeys(market.tokens, 0)
        for fill in range(fills):
            outcome, buy, size, price = orders[-1] if fill else (0, True, 0, 0)
            if fill == 0 or rng.random() < 0.5:
                outcome = rng.randrange(2)
                size = 10_000 + round(rng.lognormvariate(3, 2) * 1_000_000)
                price = rng.randint(10, 990)
                buy = True
                if rng.random() < 1 / DUST_ONE_IN:
                    size = 5_000
                elif book.held[market.tokens[outcome]] and rng.random() < 0.5:
                    buy = False
                    size = min(size, book.held[market.tokens[outcome]])
            token = market.tokens[outcome]
            if not buy and planned[token] + size > book.held[token]:
                buy = True
            planned[token] += 0 if buy else size
            orders.append((outcome, buy, size, price))
        self._exits.note(market)
        self._pay_in(
            second, sum(cost(market, s, p, buy=True, maker=False) for _, _, s, p in orders)
        )
        for outcome, buy, size, price in orders:
            book.trade(
                when,
                market,
                outcome,
                buy=buy,
                size=size,
                price=price,
                maker=rng.random() < 0.5,
                labelled=rng.random() >= 1 / UNLABELLED_ONE_IN,
            )

    def _pay_in(self, second: int, needed: int) -> None:
        """A deposit, if there is less cash than needed."""
        if self._book.cash < needed:
            extra = round(self._rng.lognormvariate(5, 1) * 1_000_000)
            self._book.flow(self._when(second), "DEPOSIT", needed - self._book.cash + extra)

    def _beside(self, second: int, market: MarketFacts) -> None:
        """Now and then something else than a trade, of each kind."""
        rng, book = self._rng, self._book
        if rng.random() < 0.10:
            self._split(second)
        if rng.random() < 0.15:
            self._merge(second)
        if rng.random() < 0.30:
            self._convert(second)
        if rng.random() < 0.05:
            book.flow(self._when(second), rng.choice(INCOME), rng.randint(1, 20_000_000))
        if rng.random() < 0.02:
            self._combine(second, market)
        if rng.random() < 0.02 and book.cash:
            kind, side = rng.choice((("WITHDRAWAL", ""), ("MIGRATION", ""), ("TIP", "OUT")))
            book.flow(self._when(second), kind, rng.randint(1, book.cash), side=side)
        if rng.random() < 0.01:
            book.flow(self._when(second), "TIP", rng.randint(1, 50_000_000), side="IN")

    def _split(self, second: int) -> None:
        market = self._exchange.any_open(self._rng, second)
        if market is not None:
            amount = self._rng.randint(1, 100_000_000)
            self._pay_in(second, amount)
            self._book.split(self._when(second), market, amount)
            self._exits.note(market)

    def _merge(self, second: int) -> None:
        """Pairs of both outcomes of a market that is not resolved, all of them or a part."""
        book = self._book
        for market in self._held():
            pairs = min(book.held[token] for token in market.tokens)
            if pairs and not market.resolved(second):
                amount = pairs if self._rng.random() < 0.5 else self._rng.randint(1, pairs)
                book.merge(self._when(second), market, amount)
                return

    def _convert(self, second: int) -> None:
        """The largest holdings of No of an event, as much as the smallest of them has.

        So the questions that were chosen are those of whose No the wallet had so much: the row
        does not name them.
        """
        book = self._book
        for market in self._held():
            event = self._exchange.events[market.neg_risk_id]
            if not market.neg_risk_id or market.resolved(second) or not book.held[market.tokens[1]]:
                continue
            amounts = sorted((book.held[m.tokens[1]] for m in event), reverse=True)
            count = self._rng.randint(1, sum(amount > 0 for amount in amounts))
            amount = amounts[count - 1]
            chosen = [m for m in event if book.held[m.tokens[1]] >= amount]
            book.convert(self._when(second), event, chosen, amount)
            for each in event:
                self._exits.note(each)
            return

    def _combine(self, second: int, market: MarketFacts) -> None:
        """Buys a combination of outcomes of markets that trade, `market` if there is no other.

        Its id begins with 03, and ends with its outcome. Now and then the wallet also makes shares
        of it out of cash and back, or has them in another form.
        """
        condition = f"0x03{self._rng.getrandbits(8 * 15):030x}{0:032x}"
        own = random.Random(awkward.token_id(self._rng))
        found = [self._exchange.any_open(own, second) or market for _ in range(own.randint(2, 4))]
        legs = {each.condition_id: Leg(each.condition_id, own.randrange(2)) for each in found}
        combo = Combo(condition_id=condition, legs=tuple(legs.values()), created=second)
        self._exchange.combos[condition] = combo
        size, price = self._rng.randint(1_000_000, 50_000_000), self._rng.randint(10, 500)
        outcome = int(own.random() < COMES_FALSE)
        self._pay_in(second, size)
        self._book.combo(self._when(second), combo, outcome, size, price)
        self._combos.append((combo, outcome))
        amount = min(own.randint(1, 50_000_000), self._book.cash)
        if amount and own.random() < 0.5:
            self._book.mint_combo((second, awkward.tx_hash(own)), combo, amount)
            self._book.mint_combo((second, awkward.tx_hash(own)), combo, -amount)
        if own.random() < 0.5:
            self._book.repack((second, awkward.tx_hash(own)), own.choice(REPACKED), combo)

    def _held(self) -> Iterator[MarketFacts]:
        """The latest markets of which the wallet has shares."""
        latest = list(itertools.islice(reversed(self._book.held), MOST_LOOKED_AT))
        tokens = [token for token in latest if self._book.held[token]]
        markets = self._exchange.by_token
        yield from {m.condition_id: m for t in tokens if (m := markets.get(t))}.values()
