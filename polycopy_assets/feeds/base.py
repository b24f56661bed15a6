"""What a feed is: everything that walk, segments, batches, record and table need to know of it.

A feed is one kind of rows that a source serves for a wallet: its trades, for instance. Its folder
in `feeds/` defines one `Feed`. The engine knows none by name: it is given one.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polycopy_assets.trades.columns import Relation
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.names import Names
from polycopy_assets.trades.shapes import Shapes

if TYPE_CHECKING:
    from polycopy_assets.feeds.frame import Frame

Parameters = Mapping[str, str | int]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """How a source serves a feed, newest row first, within fixed bounds.

    `path` is below the source's URL; `rows` says in the plural what is served, in messages. `asked`
    are the parameters that request a page of at most `limit` rows of a wallet in an interval, but
    for the page's cursor. `mechanisms` are the parts of the source's status that index the feed's
    rows, by their names there: the feed's horizon trails the slowest of them. Without any, it
    trails the slowest of all, if the source has a status. `without` are the parameters that leave
    out rows of some types, beside those of `asked`; None if the feed has no types to leave out.
    """

    path: str
    rows: str
    limit: int
    asked: Callable[[str, Interval], Parameters]
    mechanisms: tuple[str, ...] = ()
    without: Callable[[Collection[str]], Parameters] | None = None


@dataclass(frozen=True, kw_only=True)
class Assets:
    """The names of a feed's assets: the partitioned one, its batches, and its table.

    `counts` is that of the source's own counts of its rows; it is kept for them if there are none.
    """

    wallets: str
    combined: str
    table: str
    counts: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Feed:
    """One kind of rows that sources serve.

    `label` is what people call the feed, `row` one of its rows, and `rows` more of them.

    `notes` is how the keys of its notes begin, the cursors that a Dagster instance keeps.
    `names` says where its objects lie in the store, `shapes` how its rows are read, by source, and
    `endpoints` how they are requested, by source. `schema` is the version of the columns of its
    batches: it is raised when they change, so that every segment is combined again. `relation` is
    its table, which has the name of the asset `assets.table`, and `views` are those on it. `loaded`
    names the table beside it that says which batches it holds, if that is not `batches`. `frame`
    makes rows of the table from rows as served; it is called when rows are combined or a table is
    made, because it needs Polars, and short commands do without. `bare` is the first feed: what is
    its own among jobs, checks and sensors does not bear its name, because it had none to bear. An
    older job's checkpoint is of that feed. `counted` says whether a source may have a count of its
    rows beside them.

    A feed is equal to itself alone.
    """

    name: str
    label: str
    row: str
    rows: str
    assets: Assets
    notes: str
    names: Names
    shapes: Shapes
    endpoints: Mapping[str, Endpoint]
    schema: int
    relation: Relation
    views: Mapping[str, Relation]
    frame: "Callable[[], Frame]"
    loaded: str | None = None
    bare: bool = False
    counted: bool = False

    def own(self, name: str) -> str:
        """What its own job, check, sensor or schedule is called, which `name` says of any feed."""
        return name if self.bare else f"{name}_{self.name}"

    @property
    def table(self) -> str:
        """The name of its table: a constant of ours, which may stand in a statement."""
        return self.assets.table

    @property
    def batches(self) -> str:
        """The name of the table that says which batches its table holds; a constant as well."""
        return self.loaded or f"polycopy_batches_{self.table}"
