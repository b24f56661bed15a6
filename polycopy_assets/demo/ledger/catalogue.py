"""All markets and combos that a world knows, and how to find them."""

from collections.abc import Iterable

from polycopy_assets.demo.combos import Combo
from polycopy_assets.demo.entry import UNLABELLED
from polycopy_assets.demo.market import MarketFacts
from polycopy_assets.demo.world import World


class Catalogue:
    """The markets and combos of a world; looked up again after each change."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._version: int | None = None
        self._by_condition: dict[str, MarketFacts] = {}
        self._by_token: dict[str, MarketFacts] = {}
        self._by_event: dict[int, list[MarketFacts]] = {}
        self._combos: dict[str, Combo] = {}
        self._combos_by_token: dict[str, Combo] = {}

    def all(self) -> list[MarketFacts]:
        """All markets by their number."""
        self._refresh()
        return list(self._by_condition.values())

    def condition(self, condition: str) -> MarketFacts | None:
        """The market with this condition."""
        self._refresh()
        return self._by_condition.get(condition.lower())

    def token(self, token: str) -> MarketFacts | None:
        """The market of which this token is an outcome."""
        self._refresh()
        return self._by_token.get(token)

    def event(self, event: int) -> list[MarketFacts]:
        """The markets of an event, in the order of its questions."""
        self._refresh()
        return self._by_event.get(event, [])

    def combo(self, condition: str) -> Combo | None:
        """The combo with this condition, with or without the byte of an outcome."""
        self._refresh()
        return self._combos.get(combo_id(condition))

    def combo_of_token(self, token: str) -> Combo | None:
        """The combo of which this token is an outcome."""
        self._refresh()
        return self._combos_by_token.get(token)

    def _refresh(self) -> None:
        if self._version == self._world.version:
            return
        self._version = self._world.version
        known = self._world.markets.values() or _traded(self._world)
        markets = sorted(known, key=lambda market: market.number)
        self._by_condition = {market.condition_id.lower(): market for market in markets}
        self._by_token = {token: m for m in markets for token in m.tokens if token}
        self._by_event = {}
        for market in markets:
            self._by_event.setdefault(market.event_id, []).append(market)
        self._combos = self._world.combos.known or _held(self._world)
        self._combos_by_token = {t: combo for combo in self._combos.values() for t in combo.tokens}


def combo_id(condition: str) -> str:
    """A combo's condition with the byte of outcome 0, whatever its last byte is."""
    lower = condition.lower()
    return f"{lower[:64]}00"


def _held(world: World) -> dict[str, Combo]:
    """What recorded ledgers tell of combos: neither their legs, nor whether they have ended."""
    found: dict[str, Combo] = {}
    for wallet in world.wallets():
        for entry in world.entries(wallet):
            if entry.is_combo and entry.condition_id:
                condition = combo_id(entry.condition_id)
                found.setdefault(
                    condition,
                    Combo(
                        condition_id=condition,
                        created=entry.timestamp,
                        title=entry.title or "A combo",
                    ),
                )
    return found


def _traded(world: World) -> Iterable[MarketFacts]:
    """What trades alone tell of markets: open ones, each an event of its own."""
    found: dict[str, tuple[str, str, dict[int, str]]] = {}
    for wallet in world.wallets():
        for entry in world.entries(wallet):
            if entry.among_trades:
                about = found.setdefault(entry.condition_id, (entry.title, entry.slug, {}))
                if entry.outcome_index != UNLABELLED:
                    about[2][entry.outcome_index] = entry.token_id
    for number, (condition, (title, slug, tokens)) in enumerate(found.items(), start=1):
        yield MarketFacts(
            number=number,
            condition_id=condition,
            tokens=(tokens.get(0, ""), tokens.get(1, "")),
            question=title,
            slug=slug,
            event_id=number,
            event_slug=slug,
            event_title=title,
        )
