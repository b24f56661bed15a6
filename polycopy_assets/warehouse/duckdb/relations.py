"""What people read of the tables in DuckDB: comments on them, and views on those of feeds.

Comments are written where there are none, so those of other people stay. A view is replaced if its
comment says that it is ours and of another form; what else has its name stays too.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import duckdb

from polycopy_assets.errors import Unsuitable
from polycopy_assets.feeds.base import Feed
from polycopy_assets.trades.columns import Relation
from polycopy_assets.warehouse.duckdb.sql_files import sql
from polycopy_assets.warehouse.joined import DIMENSION_TABLES, joined, ready
from polycopy_assets.warehouse.tables import tables as tables_of
from polycopy_assets.warehouse.tables import views as views_of

OURS = "Made by polycopy"
"""In the comment of what is replaced as a whole, so that nothing of other people ever is."""

MADE = f"{OURS}, form"
"""In the comment of a view of ours; behind it stands a digest of what it should be."""


def describe(db: duckdb.DuckDBPyConnection, feeds: Sequence[Feed]) -> None:
    """Writes the comments and views of `feeds` that are missing; else it reads the catalogue.

    The tables must have all of our columns.
    """
    ours, views = tables_of(feeds), views_of(feeds)
    names = {"names": [*ours, *views, *joined(), *DIMENSION_TABLES]}
    rows = db.execute(sql("relations"), names).fetchall()
    found = {name: (is_view, said) for name, is_view, said in rows}
    tables = {name: table for name, table in ours.items() if not found.get(name, (True, ""))[0]}
    statements = [*_on_tables(db, tables, {name for name, (_, said) in found.items() if said})]
    there = {name for name in ours if not found.get(name, (True, ""))[0]} | {
        # Somebody else's may have other columns.
        name
        for name in DIMENSION_TABLES
        if OURS in (found.get(name, (True, ""))[1] or "")
    }
    of_both = {name: (view.feed, view.relation) for name, view in ready(feeds, there)}
    for name, (feed, view) in {**views, **of_both}.items():
        if name not in found or (
            found[name][0] and _is_older(found[name][1], _comment(name, feed, view))
        ):
            statements += _view(name, feed, view)
    if statements:
        # Together: a view without its comment would count as one of other people.
        db.execute("BEGIN")
        for statement in statements:
            db.execute(statement)
        db.execute("COMMIT")


def comment_on(db: duckdb.DuckDBPyConnection, name: str, relation: Relation) -> None:
    """Says what a table of ours that is new and its columns mean, and that it is ours."""
    ours = relation._replace(meaning=f"{relation.meaning} {OURS}.")
    for statement in [*_on_tables(db, {name: ours}, set())]:
        db.execute(statement)


def refuse_others(db: duckdb.DuckDBPyConnection, name: str, where: str) -> bool:
    """Whether there is a table `name`; raises Unsuitable if it is somebody else's."""
    found = db.execute(sql("relations"), {"names": [name]}).fetchall()
    for _, is_view, said in found:
        if is_view or OURS not in (said or ""):
            raise Unsuitable(
                f"{where} has a {'view' if is_view else 'table'} {name} that polycopy did not make,"
                " and would be replaced as a whole: rename it"
            )
    return bool(found)


def _on_tables(
    db: duckdb.DuckDBPyConnection, tables: Mapping[str, Relation], said: set[str]
) -> Iterator[str]:
    silent = db.execute(sql("without_comment"), {"names": [*tables]}).fetchall()
    for name, table in tables.items():
        if name not in said:
            yield f'COMMENT ON TABLE "{name}" IS {_text(table.meaning)}'
        for column, meaning in table.columns.items():
            if (name, column) in silent:
                yield f'COMMENT ON COLUMN "{name}"."{column}" IS {_text(meaning)}'


def _is_older(comment: str | None, wanted: str) -> bool:
    """Whether a view is ours and not as it should be."""
    return MADE in (comment or "") and comment != wanted


def _view(name: str, feed: Feed, view: Relation) -> Iterator[str]:
    yield f'CREATE OR REPLACE VIEW "{name}" AS {sql(name, feed)}'
    for column, meaning in view.columns.items():
        yield f'COMMENT ON COLUMN "{name}"."{column}" IS {_text(meaning)}'
    yield f'COMMENT ON VIEW "{name}" IS {_text(_comment(name, feed, view))}'


def _comment(name: str, feed: Feed, view: Relation) -> str:
    whole = sql(name, feed) + repr(view)
    return f"{view.meaning} {MADE} {hashlib.sha256(whole.encode()).hexdigest()[:8]}."


def _text(text: str) -> str:
    """A text as a literal; COMMENT takes no parameters."""
    return "'" + text.replace("'", "''") + "'"
