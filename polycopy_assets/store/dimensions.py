"""The facts in a store: read, added to, and folded.

A change is a new object under the next number. With more than `FOLD_AFTER` of them, everything is
written as one whole object, and what it replaces is deleted. A kill in between leaves objects that
no longer count.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from polycopy_assets.dimensions.facts import Facts
from polycopy_assets.dimensions.objects import (
    PREFIX,
    Numbered,
    facts_of,
    header_of,
    line,
    lines_of,
    pack,
    parse_name,
    that_count,
    versions,
)
from polycopy_assets.store.base import Store

FOLD_AFTER = 16
"""Changes after the last whole object beyond which everything is written as one."""


class FactsInStore:
    """What the store says of every condition, as it is when this is made.

    Of a condition that cannot change any more only the name is kept. `batch` and `batches` are
    those of the last header. `events` are the ids that negative-risk events have on chain, as the
    tokens name them: a conversion names its event in the place of a condition. Raises StoreError,
    and ContractBroken if an object is damaged: what is missing cannot be told from what was never
    asked, so nothing goes on.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._objects = that_count(item.name for item in store.list(PREFIX))
        self._open: dict[str, bytes] = {}
        self._final: set[str] = set()
        self._lines = 0
        self.batch = 0
        self.batches: Mapping[str, int] = {}
        self.events: set[str] = set()
        for each in self._objects:
            header = header_of(store.read(each.name), each.name)
            self.batch = header.batch
            self.batches = {} if header.batches is msgspec.UNSET else header.batches
            for facts, text in self._versions(each):
                self._lines += 1
                self._remember(facts, text)

    @property
    def number(self) -> int:
        """The number of the last object; 0 if there is none."""
        return self._objects[-1].number if self._objects else 0

    @property
    def open(self) -> list[str]:
        """The conditions of which something may still change, in order."""
        return sorted(self._open.keys() - self.events)

    def __contains__(self, condition: str) -> bool:
        return condition in self._open or condition in self._final or condition in self.events

    def __len__(self) -> int:
        return len(self._open.keys() - self.events) + len(self._final)

    def get(self, condition: str) -> Facts | None:
        """What is known of a condition that may still change; None if nothing is known of it."""
        text = self._open.get(condition)
        return None if text is None else facts_of(text)

    def add(
        self, changed: Sequence[Facts], batch: int, batches: Mapping[str, int] | None = None
    ) -> None:
        """Makes new versions durable, all or none of them; the batches as in `objects.Header`.

        Without `batches` those of other feeds stay as they are. Raises ObjectExists if another
        process has written the same number.
        """
        lines = [line(facts) for facts in changed]
        others = self.batches if batches is None else batches
        self._create(Numbered(self.number + 1, "change"), pack(lines, batch, len(lines), others))
        self.batch, self.batches = batch, others
        self._lines += len(lines)
        for facts, text in zip(changed, lines, strict=True):
            self._remember(facts, text)

    def fold(self) -> None:
        """Writes everything as one object if there are many, and deletes what no longer counts.

        What another process wrote meanwhile counts, and stays.
        """
        if sum(each.kind == "change" for each in self._objects) > FOLD_AFTER:
            lines = (text for each in self._objects for _, text in self._versions(each))
            whole = Numbered(self.number + 1, "whole")
            self._create(whole, pack(lines, self.batch, self._lines, self.batches))
            self._objects = [whole]
        names = [item.name for item in self._store.list(PREFIX)]
        counting = {each.name for each in that_count(names)}
        for name in names:
            if parse_name(name) and name not in counting:
                self._store.delete(name)

    def versions(self) -> Iterator[Facts]:
        """Every version of every condition, those of one condition in their order."""
        for each in self._objects:
            for facts, _ in self._versions(each):
                yield facts

    def _versions(self, each: Numbered) -> Iterator[tuple[Facts, bytes]]:
        return versions(lines_of(self._store.read(each.name), each.name), each.name)

    def _create(self, each: Numbered, data: bytes) -> None:
        self._store.create(each.name, data)
        self._objects.append(each)

    def _remember(self, facts: Facts, text: bytes) -> None:
        self.events.update(
            token.neg_risk_market_id.lower() for token in facts.tokens if token.neg_risk_market_id
        )
        if facts.open_parts:
            self._final.discard(facts.condition)
            self._open[facts.condition] = text
        else:
            self._open.pop(facts.condition, None)
            self._final.add(facts.condition)
