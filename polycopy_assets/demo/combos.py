"""Combos: combinations of outcomes that are held, and paid, like one outcome.

A combo's id is its contract's number 3, half of a hash, zeros, and in its last byte an outcome:
as a token it is the same number in decimal digits. Yes of a combo pays if every leg comes true.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from polycopy_assets.demo.entry import MICRO, Entry
from polycopy_assets.demo.freshness import BLOCK_SECONDS
from polycopy_assets.demo.market import MarketFacts

LIFECYCLE = ("SPLIT", "MERGE", "REDEEM")
"""What moves cash and shares of combos; in `/v2/activity` it is marked as a combo's."""

REPACKED = ("CONVERT", "COMPRESS", "WRAP", "UNWRAP")
"""What stands in `/v2/activity/combos` alone. What it does to shares is not known: generated rows
change nothing."""

MarketOf = Callable[[str], MarketFacts | None]
"""The market of a condition."""


class Leg(msgspec.Struct, frozen=True):
    """An outcome of a market that has to come true."""

    condition_id: str
    outcome: int


class Combo(msgspec.Struct, frozen=True, kw_only=True):
    """A combo that is known since `created` (epoch seconds); `condition_id` ends in outcome 0."""

    condition_id: str
    legs: tuple[Leg, ...] = ()
    created: int = 0
    title: str = "A sample combination"

    @property
    def structural_id(self) -> str:
        """Its id without the byte of an outcome."""
        return self.condition_id[:-2]

    @property
    def tokens(self) -> tuple[str, str]:
        """The tokens of Yes and No."""
        return (
            str(int(f"{self.structural_id}00", 16)),
            str(int(f"{self.structural_id}01", 16)),
        )

    def ended(self, market_of: MarketOf, at: float) -> tuple[int, int] | None:
        """When it ended, and what a share of Yes pays in micro-USDC; None before that.

        It has ended when one leg pays nothing, or when all legs have ended.
        """
        known: list[tuple[int, int]] = []
        for leg in self.legs:
            market = market_of(leg.condition_id)
            if market and market.payouts and market.resolved_at and market.resolved(at):
                known.append((market.resolved_at, market.payouts[leg.outcome]))
        if lost := [when for when, pays in known if not pays]:
            return min(lost), 0
        if not known or len(known) < len(self.legs):
            return None
        pays = MICRO
        for _, each in known:
            pays = pays * each // MICRO
        return max(when for when, _ in known), pays


class Event(msgspec.Struct, frozen=True):
    """A row of `/v2/activity/combos`, by the block it is in and its place there."""

    block: int
    log_index: int
    entry: Entry

    @property
    def position(self) -> tuple[int, int]:
        """What rows are ordered by."""
        return (self.block, self.log_index)

    @property
    def tx_hash(self) -> str:
        """The hash of its transaction."""
        return self.entry.tx_hash


class Combos:
    """All combos of a world by their condition, and what was only repacked by its wallet."""

    def __init__(self) -> None:
        self.known: dict[str, Combo] = {}
        self._repacked: dict[str, list[Entry]] = {}
        self._recorded: dict[str, list[Event]] = {}

    def repack(self, wallet: str, entries: Iterable[Entry]) -> None:
        """Rows of a wallet that are in no ledger."""
        self._repacked.setdefault(wallet.lower(), []).extend(entries)

    def record(self, events: Iterable[Event]) -> None:
        """Rows as they were served: what wallets have of these, they have no other rows."""
        for event in events:
            self._recorded.setdefault(event.entry.wallet, []).append(event)

    @property
    def wallets(self) -> list[str]:
        """The wallets of recorded rows."""
        return [events[0].entry.served_wallet for events in self._recorded.values()]

    def events(self, wallet: str, ledger: Iterable[Entry]) -> list[Event]:
        """The rows of a wallet whose `ledger` is known, oldest first."""
        key = wallet.lower()
        if key in self._recorded:
            return sorted(self._recorded[key], key=lambda event: event.position)
        made = [*_of_ledger(ledger), *_repacked(self._repacked.get(key, ()))]
        return sorted(made, key=lambda event: event.position)


def _of_ledger(ledger: Iterable[Entry]) -> Iterator[Event]:
    for entry in ledger:
        if entry.is_combo and entry.type in LIFECYCLE:
            yield Event(entry.timestamp // BLOCK_SECONDS, entry.sequence * 2 % 2**31, entry)


def _repacked(entries: Iterable[Entry]) -> Iterator[Event]:
    """Their sequence is that of the ledger's next row: they come before it."""
    for entry in entries:
        yield Event(entry.timestamp // BLOCK_SECONDS, (entry.sequence * 2 - 1) % 2**31, entry)
