"""The tables and views that a warehouse makes: those of its feeds, and those beside them.

Their names are constants of ours. Nothing else may stand in a statement as the name of a table.
"""

import textwrap
from collections.abc import Iterable, Mapping

from polycopy_assets.feeds.base import Feed
from polycopy_assets.trades.columns import TRADERS, Relation, batches

WIDTH = 100


def tables(feeds: Iterable[Feed]) -> Mapping[str, Relation]:
    """What a row of each table is, and what its columns mean; not all of them need be there."""
    every = list(feeds)
    return {
        **{feed.table: feed.relation for feed in every},
        "traders": TRADERS,
        **{feed.batches: batches(feed.table) for feed in every},
    }


def views(feeds: Iterable[Feed]) -> Mapping[str, tuple[Feed, Relation]]:
    """The same of the views, each with its feed."""
    return {name: (feed, view) for feed in feeds for name, view in feed.views.items()}


def listed(names: Iterable[str], indent: int, breaks: frozenset[str] = frozenset()) -> str:
    """Names as a list in a statement, behind `indent` spaces; a line begins with each of `breaks`.

    The first line has no spaces before it: the statement has them.
    """
    groups: list[list[str]] = [[]]
    for name in names:
        if name in breaks:
            groups.append([])
        groups[-1].append(name)
    lines = [
        line
        for number, group in enumerate(groups, 1)
        for line in textwrap.wrap(
            ", ".join(group) + ("," if number < len(groups) else ""),
            WIDTH - indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
    return f"\n{' ' * indent}".join(lines)
