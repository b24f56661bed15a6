"""`polycopy query`: a question to the tables, which changes nothing."""

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TextIO, get_args

import click

from polycopy_assets.cli.answers import print_csv, print_json, print_table
from polycopy_assets.cli.common import Command, one_line_errors, say
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.resources.chosen import open_warehouse
from polycopy_assets.settings.environment import settings
from polycopy_assets.text import counted
from polycopy_assets.warehouse.base import Warehouse
from polycopy_assets.warehouse.reading import Answer

_COMMENT = re.compile(r"--(\s|.*\n)")

Shape = Literal["table", "csv", "json", "parquet"]


class _Query(Command):
    """A query may begin with a comment of SQL, which is no option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        comments = [] if "--" in args else [arg for arg in args if _COMMENT.match(arg)]
        others = [arg for arg in args if arg not in comments]
        return super().parse_args(ctx, [*others, "--", *comments] if comments else args)


@click.command(
    "query",
    cls=_Query,
    needs_data=True,
    examples=(
        'polycopy query "SELECT * FROM wallet_summary LIMIT 10"',
        "polycopy query -f question.sql --csv > answer.csv",
    ),
    page="docs/analysis.md",
)
@click.argument("sql", required=False)
@click.option("-f", "--file", type=click.File(), help="Read the query from a file; - is stdin.")
@click.option("--csv", is_flag=True, help="Print CSV with a heading.")
@click.option("--json", is_flag=True, help="Print one JSON array of objects.")
@click.option("--parquet", is_flag=True, help="Write Parquet to standard output.")
@click.option("--dry-run", is_flag=True, help="Only say what it would read; on BigQuery for free.")
def query_command(*, sql: str | None, file: TextIO | None, dry_run: bool, **shapes: bool) -> None:
    """Ask the tables a question in SQL, and change nothing.

    One SELECT in the SQL of the warehouse, DuckDB or BigQuery. Times are in UTC. On BigQuery a
    query may bill POLYCOPY_MAX_BYTES_BILLED at most.
    """
    with one_line_errors():
        text = _text(sql, file)
        shape = _shape(shapes)
        if shape == "parquet" and sys.stdout.isatty():
            raise ConfigurationError(
                "--parquet writes no text: send it to a file, as in --parquet > answer.parquet"
            )
        warehouse = open_warehouse(settings(), "query")
        if dry_run:
            size = warehouse.reader.estimate(text)
            click.echo(
                "reads a file: free" if size is None else f"would process {counted(size, 'byte')}"
            )
            return
        with warehouse.reader.ask(text) as answer:
            count = _show(answer, shape)
            sys.stdout.flush()
        _say_cost(warehouse, count)


def _text(sql: str | None, file: TextIO | None) -> str:
    if sql is not None and file is None:
        if not sql.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in sql):
            raise ConfigurationError("the query is not text in UTF-8")
        return sql
    if file is None or sql is not None:
        raise ConfigurationError(
            'give one query: polycopy query "SELECT …", or polycopy query -f FILE'
        )
    try:
        text = file.read()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file.name} is not text in UTF-8: {error}") from error
    if not text.strip():
        raise ConfigurationError(f"{file.name} holds no query")
    return text


def _shape(chosen: Mapping[str, bool]) -> Shape:
    """The one shape of `chosen`; a table without any."""
    found: list[Shape] = [each for each in get_args(Shape) if chosen.get(each)]
    if len(found) > 1:
        raise ConfigurationError(
            f"{' and '.join(f'--{each}' for each in found)} exclude each other"
        )
    return found[0] if found else "table"


def _show(answer: Answer, shape: Shape) -> int | None:
    """Prints an answer; returns its number of rows, if it was counted."""
    match shape:
        case "table":
            return print_table(answer, sys.stdout)
        case "csv":
            return print_csv(answer, sys.stdout)
        case "json":
            return print_json(answer, sys.stdout)
        case "parquet":
            with tempfile.TemporaryDirectory(prefix="polycopy-") as folder:
                path = Path(folder) / "answer.parquet"
                answer.write_parquet(path)
                with path.open("rb") as file:
                    while piece := file.read(2**20):
                        sys.stdout.buffer.write(piece)
            return None


def _say_cost(warehouse: Warehouse, count: int | None) -> None:
    said = [] if count is None else [counted(count, "row")]
    if warehouse.cost is not None:
        said.append(f"{counted(warehouse.cost.bytes_billed, 'byte')} billed")
    if said:
        say(", ".join(said))
