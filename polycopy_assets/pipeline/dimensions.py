"""`tokens` and `markets`: what the source says of every condition in the tables of feeds.

In this order: the conditions of new batches are read; those that are new, or may still change, are
asked for; what an answer changes is made durable; both tables are replaced. A kill anywhere loses
the answers of some hundred conditions at most, and nothing final is asked for again.
"""

import asyncio
import io
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import closing
from functools import reduce
from typing import NamedTuple

import polars as pl

from polycopy_assets.dimensions.columns import DIMENSIONS
from polycopy_assets.dimensions.facts import (
    PARTS,
    Facts,
    Part,
    Said,
    answered,
    is_combo,
    parts_of,
)
from polycopy_assets.dimensions.objects import TABLES, table_file
from polycopy_assets.dimensions.tables import table
from polycopy_assets.errors import ContractBroken, ObjectExists, PermanentError
from polycopy_assets.fetch.iterate_async import iterate_async
from polycopy_assets.pipeline.new_conditions import Loaded, Read, new_conditions
from polycopy_assets.pipeline.ports import Check, DimensionSource, OpenDimensions
from polycopy_assets.store.base import Store
from polycopy_assets.store.dimensions import FactsInStore
from polycopy_assets.system.step import Step
from polycopy_assets.text import counted
from polycopy_assets.warehouse.base import DimensionTables

GROUP = 20
"""Conditions that are asked for together; each route takes as many or half as many at a time."""

CHANGE = 500
"""New versions that are made durable together, about."""

MOST_REFUSED = 100
"""Questions of one kind that may be refused in a row: more, and it is not for their conditions."""


class DimensionPorts(NamedTuple):
    """What a run needs: `loaded` are the batches that the table of each feed holds."""

    store: Store
    loaded: Sequence[Loaded]
    tables: DimensionTables
    open_source: OpenDimensions
    check: Check
    step: Step


class Kept(NamedTuple):
    """What a run did.

    `conditions` are all that are known of, `asked` those that were asked for, `changed` the new
    versions, `requests` the requests. `refused` maps conditions that the source would not answer
    for to the reason, `odd` are values of `condition_id` that are no conditions. `unknown` are the
    other conditions that the source has never heard of; combos of which it lists no tokens are not
    among them, but in `silent`. `rows` are those of each table.
    """

    conditions: int
    asked: int
    changed: int
    requests: int
    refused: Mapping[str, str]
    odd: Sequence[str]
    unknown: Sequence[str]
    silent: Sequence[str]
    rows: Mapping[str, int]


def keep_dimensions(ports: DimensionPorts) -> Kept:
    """Asks for what is new or may still change, and replaces both tables.

    Raises SourceError, StoreError, WarehouseError and Stopped; what was answered before is kept.
    """
    ports.check()
    facts = FactsInStore(ports.store)
    ports.step.begin("reading the conditions of new batches")
    before = Read(facts.batch, facts.batches)
    found, odd, read = new_conditions(ports.loaded, before, ports.check)
    wanted = [(condition, parts_of(condition)) for condition in found if condition not in facts]
    for condition in facts.open:
        known = facts.get(condition)
        wanted.append((condition, known.open_parts if known else parts_of(condition)))
    # From within the name: combos, whose names begin and end alike, are spread among the others.
    wanted.sort(key=lambda each: each[0][4:])
    asking = _Asking(ports, facts, wanted)
    asking.run()
    if read != before and all(condition in facts for condition in found):
        facts.add([], read.first, read.others)
    ports.check()
    facts.fold()
    ports.step.begin("replacing the tables tokens and markets")
    unheard = [
        each
        for each in facts.open
        if each not in asking.refused and (known := facts.get(each)) and not known.known
    ]
    return Kept(
        conditions=len(facts),
        asked=len(wanted),
        changed=asking.changed,
        requests=asking.requests,
        refused=asking.refused,
        odd=sorted(odd),
        unknown=[each for each in unheard if not is_combo(each)],
        silent=[each for each in unheard if is_combo(each)],
        rows=_replaced(ports, facts) if facts.number else {},
    )


def _replaced(ports: DimensionPorts, facts: FactsInStore) -> dict[str, int]:
    """Makes both tables say what the store says; returns their rows.

    The tables are small, so each is loaded as a whole, whatever it held before: a table that was
    dropped, restored or changed by others is right again after the next run.
    """
    rows: dict[str, int] = {}
    files: set[str] = set()
    for name in DIMENSIONS:
        ports.check()
        made = table(name, _named(facts))
        rows[name] = len(made)
        file = table_file(facts.number, name)
        _create(ports.store, file, made)
        ports.tables.replace(name, file, len(made), ports.store)
        files.add(file)
    ports.tables.describe()
    for item in list(ports.store.list(TABLES)):
        if item.name not in files:
            ports.store.delete(item.name)
    return rows


def _named(facts: FactsInStore) -> Iterator[Facts]:
    """Every version, but for those of events, which are neither conditions nor unknown."""
    return (each for each in facts.versions() if each.known or each.condition not in facts.events)


def _create(store: Store, name: str, rows: pl.DataFrame) -> None:
    """Creates the file of a table; one of that number that another version wrote gives way."""
    file = io.BytesIO()
    rows.write_parquet(file, compression="zstd")
    try:
        store.create(name, file.getvalue())
    except ObjectExists:
        store.delete(name)
        store.create(name, file.getvalue())


class _Asking:
    """The requests of a run, and what they change."""

    def __init__(
        self,
        ports: DimensionPorts,
        facts: FactsInStore,
        wanted: Sequence[tuple[str, frozenset[Part]]],
    ) -> None:
        self._ports, self._facts, self._wanted = ports, facts, wanted
        self.refused: dict[str, str] = {}
        self.requests = self.changed = 0
        self._at = 0

    def run(self) -> None:
        """Asks for everything that is wanted, and makes durable what changes."""
        if not self._wanted:
            return
        self._ports.step.begin("asking for tokens and markets", len(self._wanted))
        pending: list[Facts] = []
        with closing(_iterated(self._groups, self._ports.check)) as groups:
            try:
                for group, said, refused in groups:
                    self._ports.step.done += len(group)
                    self.requests += said.requests
                    pending += self._changes(group, said, refused)
                    if len(pending) >= CHANGE:
                        self._add(pending)
                        pending = []
            finally:
                if pending:
                    self._add(pending)

    def _changes(
        self, group: "_Group", said: Said, refused: Mapping[tuple[str, Part], str]
    ) -> Iterator[Facts]:
        """The versions that an answer adds.

        A new condition that is refused altogether is noted as one that nobody knows: else its batch
        would be read again in each run.
        """
        self._at = max(self._at, said.at)
        for condition, parts in group:
            answers: frozenset[Part] = frozenset(
                part for part in parts if (condition, part) not in refused
            )
            if not answers and (condition in self._facts or not self._at):
                continue
            heard = said if answers else Said(at=self._at)
            if new := answered(self._facts.get(condition), condition, answers, heard):
                yield new
        self.refused |= {condition: why for (condition, _), why in refused.items()}

    def _add(self, changed: Sequence[Facts]) -> None:
        self._ports.check()
        self._facts.add(changed, self._facts.batch)
        self.changed += len(changed)

    async def _groups(self) -> AsyncIterator["_Answer"]:
        """The answers to groups of conditions, as many groups at a time as is of use."""
        groups = [self._wanted[at : at + GROUP] for at in range(0, len(self._wanted), GROUP)]
        in_a_row: Counter[Part] = Counter()
        async with self._ports.open_source() as source:
            while groups:
                now, groups = groups[: source.at_once], groups[source.at_once :]
                answers = await asyncio.gather(
                    *(_ask(source, group) for group in now), return_exceptions=True
                )
                for answer in answers:
                    if not isinstance(answer, BaseException):
                        yield answer
                for answer in answers:
                    if isinstance(answer, BaseException):
                        raise answer
                    _refuse_broken(answer, in_a_row)


_Group = Sequence[tuple[str, frozenset[Part]]]
_Answer = tuple[_Group, Said, Mapping[tuple[str, Part], str]]


def _refuse_broken(answer: _Answer, in_a_row: Counter[Part]) -> None:
    """Counts the questions of each part refused in a row; raises ContractBroken if too many."""
    group, _, refused = answer
    for part in PARTS:
        asked = [condition for condition, parts in group if part in parts]
        whys = [refused[condition, part] for condition in asked if (condition, part) in refused]
        in_a_row[part] = in_a_row[part] + len(whys) if len(whys) == len(asked) else 0
        if whys and in_a_row[part] > MOST_REFUSED:
            raise ContractBroken(
                f"the source refused {counted(in_a_row[part], 'question')} in a row,"
                f" the last one with: {whys[-1]}"
            )


def _iterated(
    make: Callable[[], AsyncIterator[_Answer]], check: Check
) -> Generator[_Answer, None, None]:
    yield from iterate_async(make, ahead=8, check=check)


async def _ask(source: DimensionSource, group: _Group) -> _Answer:
    """What the source says of a group, and which parts of which conditions it refused, and why."""
    refused: dict[tuple[str, Part], str] = {}
    ways: tuple[tuple[Part, Callable[[Sequence[str]], Awaitable[Said]], int], ...] = (
        ("tokens", source.tokens, GROUP // 2),
        ("resolution", source.resolutions, GROUP),
        ("market", source.markets, GROUP),
    )

    async def ask(
        part: Part, way: Callable[[Sequence[str]], Awaitable[Said]], some: Sequence[str]
    ) -> Said:
        """The answer; if it is refused, that of each half, so that only the culprit has none."""
        try:
            return await way(some)
        except (PermanentError, ContractBroken) as error:
            if len(some) == 1:
                refused[some[0], part] = str(error)
                return Said(requests=1)
        half = len(some) // 2
        halves = await ask(part, way, some[:half]), await ask(part, way, some[half:])
        return reduce(_together, halves, Said(requests=1))

    said = [
        await ask(part, way, some[at : at + most])
        for part, way, most in ways
        if (some := [condition for condition, parts in group if part in parts])
        for at in range(0, len(some), most)
    ]
    return group, reduce(_together, said, Said()), refused


def _together(one: Said, other: Said) -> Said:
    """Two answers as one, at the time of the later."""
    return Said(
        tokens={**one.tokens, **other.tokens},
        resolutions={**one.resolutions, **other.resolutions},
        markets={**one.markets, **other.markets},
        at=max(one.at, other.at),
        requests=one.requests + other.requests,
    )
