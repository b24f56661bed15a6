"""Findings sorted by the step of a reconciliation that acts on them."""

from typing import assert_never

import msgspec

from polycopy_assets.ledger.facts import Facts
from polycopy_assets.ledger.kinds import FindingKind


class Work(msgspec.Struct, frozen=True):
    """The wallets whose findings have a step of their own, by step.

    `lacking` are wallets to be fetched, `others` those whose findings are settled by steps that
    cover all wallets: registering, loading, refetching, exporting.
    """

    ahead: list[Facts] = []
    ghosts: list[Facts] = []
    orphans: list[Facts] = []
    adoptable: list[Facts] = []
    lacking: list[Facts] = []
    unclaimed: list[Facts] = []
    others: list[Facts] = []

    @property
    def known(self) -> list[Facts]:
        """All but the wallets that no ledger knows."""
        return [
            *self.ahead,
            *self.ghosts,
            *self.orphans,
            *self.adoptable,
            *self.lacking,
            *self.others,
        ]

    def add(self, kind: FindingKind, facts: Facts) -> None:
        """Adds a wallet to the step that acts on findings of that kind."""
        match kind:
            case FindingKind.GHOST:
                self.ghosts.append(facts)
            case FindingKind.AHEAD:
                self.ahead.append(facts)
            case FindingKind.ORPHAN:
                self.orphans.append(facts)
            case FindingKind.ADOPTABLE:
                self.adoptable.append(facts)
            case (
                FindingKind.FALSE_COMPLETE
                | FindingKind.EMPTY_COMPLETE
                | FindingKind.NEWER_THAN_FILE
            ):
                self.lacking.append(facts)
            case FindingKind.UNCLAIMED:
                self.unclaimed.append(facts)
            case (
                FindingKind.ADOPTED
                | FindingKind.REFETCHING
                | FindingKind.UNLOADED
                | FindingKind.SURPLUS
                | FindingKind.UNREGISTERED
                | FindingKind.UNLISTED
                | FindingKind.UNEXPORTED
            ):
                self.others.append(facts)
            case FindingKind.REMAINING | FindingKind.RETIRED | FindingKind.CONSISTENT:
                return  # nothing is to be done, or the next backfill does it
            case _:
                assert_never(kind)
