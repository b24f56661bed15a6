"""Which failures of a fetch are the wallets' own, and which an outage that meets everybody.

A failure that may be an outage's is held back until another wallet tells: one that is fetched
afterwards shows that source and store are alive, so it was the wallet. In the end it was an outage
if the fetch gave up, or if not a single wallet could be fetched. Where only one wallet is asked for
nobody can tell, and it counts as an outage: asking once an hour costs less than giving up a good
wallet because the source was down for a week.
"""

from polycopy_assets.fetch.wallets import Failed

ANSWERED = frozenset({"permanent", "contract"})
"""Kinds of failures that show that the source is up: it has answered, if not as it should."""


class Failures:
    """The failures of one fetch. Each method is told something, and returns whose own they were."""

    def __init__(self) -> None:
        self.all: list[Failed] = []
        self._held: list[Failed] = []
        self._any_fetched = False

    def fetched(self) -> list[Failed]:
        """Another wallet was fetched."""
        self._any_fetched = True
        own, self._held = self._held, []
        return own

    def failed(self, failure: Failed) -> list[Failed]:
        """Another wallet failed, or its turn never came."""
        self.all.append(failure)
        if failure.outage:
            self._held.append(failure)
        if failure.outage or not failure.tried:
            return []
        if failure.kind not in ANSWERED:
            return [failure]
        # Of the store an answer of the source says nothing.
        own = [each for each in self._held if each.kind != "store"]
        self._held = [each for each in self._held if each.kind == "store"]
        return [*own, failure]

    def ended(self) -> list[Failed]:
        """The fetch is over."""
        return [] if self.down else self._held

    @property
    def down(self) -> bool:
        """Whether the source or the store counts as down."""
        gave_up = any(not each.tried for each in self.all)
        return gave_up or (bool(self._held) and not self._any_fetched)
