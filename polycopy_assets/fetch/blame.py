"""Whose fault a failure is: the wallet's, the source's, or the store's. Pure.

Two questions are decided here, and nowhere else. While wallets are fetched or counted: is the
source, or the store, down for all wallets, so that further attempts are pointless (`Streaks`)?
After a failure that may be due to an outage: was the wallet itself the cause, so that the failure
counts as one of its attempts (`Suspects`)?

Whether a pass over the store's listing goes on is no question of wallets: `store/reading.py`
decides it, by how many objects in a row cannot be read.
"""

from enum import StrEnum
from typing import assert_never

from polycopy_assets.errors import (
    ContractBroken,
    Kind,
    ObjectError,
    ObjectKept,
    PolycopyError,
    StoreError,
    TransientError,
    Unexpected,
    Unreachable,
)
from polycopy_assets.ledger.failure import Failure
from polycopy_assets.text import counted

DOWN_AFTER = 8
"""Consecutive outages after which the source is asked for its status, or the store counts as
down."""

HOPELESS_AFTER = 24
"""Consecutive failures after which the source counts as down, whatever its status says."""


class Fault(StrEnum):
    """Which other wallets a failure affects."""

    WALLET = "the wallet alone"
    ANSWER = "the source is up, and answers badly"
    OUTAGE = "the source may be down"
    UNREACHABLE = "no connection to the source"
    STORE = "the store may be down"


class Failed(Failure, frozen=True, kw_only=True):
    """A wallet that could not be completed, and why; its finished segments are kept.

    `traceback` is kept for an unexpected error (`Kind.INTERNAL`). `tried` is False if the wallet
    was skipped because the source or the store was down.
    """

    kind: Kind = Kind.SOURCE
    fault: Fault = Fault.WALLET
    tried: bool = True
    traceback: str = ""

    @property
    def plain(self) -> Failure:
        """The wallet and the reason alone: what reports show."""
        return Failure(self.wallet, self.reason)

    @property
    def may_be_outage(self) -> bool:
        """Whether only the outcomes of other wallets can show if this wallet is the cause."""
        match self.fault:
            case Fault.OUTAGE | Fault.UNREACHABLE | Fault.STORE:
                return True
            case Fault.WALLET | Fault.ANSWER:
                return False
            case _:
                assert_never(self.fault)


def failed(wallet: str, error: Exception) -> Failed:
    """`error`, expected or not, as a failure of `wallet`."""
    known = error if isinstance(error, PolycopyError) else Unexpected(error)
    return Failed(
        wallet=wallet,
        reason=f"{known.kind}: {known}",
        kind=known.kind,
        fault=fault_of(error),
        traceback=known.traceback if isinstance(known, Unexpected) else "",
    )


def fault_of(error: Exception) -> Fault:
    """What caused an error, as far as the error alone shows."""
    match error:
        case Unreachable():
            return Fault.UNREACHABLE
        case TransientError():
            return Fault.OUTAGE
        case ContractBroken():
            return Fault.ANSWER
        case ObjectError() | ObjectKept():
            return Fault.WALLET  # one object says nothing about the store
        case StoreError():
            return Fault.STORE
        case _:
            return Fault.WALLET


class Streaks:
    """Consecutive failures, and what they mean for all wallets.

    When in doubt, a fetch asks the source for its status. With `can_ask` False the wallets' own
    requests are the only evidence: then `DOWN_AFTER` outages are enough, and so are
    `HOPELESS_AFTER` failures of any kind.
    """

    def __init__(self, *, can_ask: bool = True) -> None:
        self._can_ask = can_ask
        self._failures = self._outages = self._answers = self._store = 0
        self._last = Fault.WALLET
        self.down = ""
        """Why the run makes no more attempts; empty while the source and the store count as up."""

    def succeeded(self) -> None:
        """A wallet was fetched or counted: both are up."""
        self._failures = self._outages = self._answers = self._store = 0
        self._last = Fault.WALLET

    def failed(self, failure: Failed) -> None:
        """A wallet failed."""
        self._failures += 1
        self._last = failure.fault
        match failure.fault:
            case Fault.STORE:
                self._store += 1
            case Fault.ANSWER:
                self._answers += 1
            case Fault.OUTAGE | Fault.UNREACHABLE:
                self._outages += 1
            case Fault.WALLET:
                pass  # it says nothing about the source
            case _:
                assert_never(failure.fault)
        if self._store >= DOWN_AFTER:
            self.give_up(
                f"the store failed {counted(self._store, 'wallet')} in a row,"
                f" last: {failure.reason}"
            )
        if self._hopeless:
            failed_in_a_row = self._outages if self._can_ask else self._failures
            self.give_up(
                f"{counted(failed_in_a_row, 'wallet')} in a row failed, last: {failure.reason}"
            )

    @property
    def _hopeless(self) -> bool:
        """Whether the source counts as down, whatever its status would say."""
        if self._can_ask:
            return self._outages >= HOPELESS_AFTER
        return self._outages >= DOWN_AFTER or self._failures >= HOPELESS_AFTER

    def give_up(self, why: str) -> None:
        """Ends all attempts; the first reason is kept."""
        self.down = self.down or why

    @property
    def in_doubt(self) -> bool:
        """Whether the last failure is a reason to ask the source for its status.

        At once if there was no connection, and after `DOWN_AFTER` outages. After every `DOWN_AFTER`
        bad answers too: a captive portal may answer everything with one page.
        """
        if self.down or not self._can_ask:
            return False
        match self._last:
            case Fault.UNREACHABLE:
                return True
            case Fault.OUTAGE:
                return self._outages >= DOWN_AFTER
            case Fault.ANSWER:
                return self._answers % DOWN_AFTER == 0
            case Fault.WALLET | Fault.STORE:
                return False
            case _:
                assert_never(self._last)


class Suspects:
    """Failures that may be due to an outage, held until another wallet's outcome decides.

    If another wallet is fetched afterwards, source and store are up, so the failure was the
    wallet's own. At the end it was an outage if the fetch gave up, or if no wallet at all was
    fetched. With a single wallet this cannot be decided, and it counts as an outage: one request an
    hour costs less than giving up a good wallet because the source was down for a week.

    Each method returns the failures that are now known to be the wallets' own.
    """

    def __init__(self) -> None:
        self._held: list[Failed] = []
        self._any_fetched = False
        self._gave_up = False

    def fetched(self) -> list[Failed]:
        """Another wallet was fetched."""
        self._any_fetched = True
        own, self._held = self._held, []
        return own

    def failed(self, failure: Failed) -> list[Failed]:
        """Another wallet failed, or was skipped."""
        if not failure.tried:
            self._gave_up = True
            return []
        if failure.may_be_outage:
            self._held.append(failure)
            return []
        match failure.kind:
            case Kind.PERMANENT | Kind.CONTRACT:
                # The source answered, so it is up; the store may still be down.
                own = [each for each in self._held if each.fault is not Fault.STORE]
                self._held = [each for each in self._held if each.fault is Fault.STORE]
                return [*own, failure]
            case Kind.INTERNAL | Kind.SOURCE | Kind.TRANSIENT | Kind.STORE | Kind.NOT_COMPARED:
                return [failure]
            case _:
                assert_never(failure.kind)

    def ended(self) -> list[Failed]:
        """The fetch is over."""
        return [] if self.down else self._held

    @property
    def down(self) -> bool:
        """Whether the source or the store counts as down."""
        return self._gave_up or (bool(self._held) and not self._any_fetched)
