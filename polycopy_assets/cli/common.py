"""What all commands share: how they speak, and how they fail."""

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from polycopy_assets.errors import ConfigurationError, PolycopyError
from polycopy_assets.instance import unusable
from polycopy_assets.interrupt import end_interrupted
from polycopy_assets.text import said_by


class Command(click.Command):
    """A command that is told by `ctx.obj`, if it is set, to read the settings before it runs.

    `--help` never gets there: it is asked for when a setting is wrong.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; a setting that is wrong is one line, and exit code 2."""
        if ctx.obj:
            with one_line_errors():
                ctx.obj()
        return super().invoke(ctx)


class Group(click.Group):
    """A group of such commands, and of such groups."""

    command_class = Command
    group_class = type


as_json = click.option("--json", "as_json", is_flag=True, help="One JSON object, nothing else.")


def say(text: str) -> None:
    """One line for people, on standard error: standard output is for results."""
    click.echo(text, err=True)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns our exceptions into one line and an exit code: 2 configuration, 1 the rest."""
    try:
        yield
    except PolycopyError as error:
        say(f"polycopy: {error}")
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        end_interrupted()
    except BrokenPipeError:
        raise  # whoever read what we say has gone: that is no matter of a database
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        # Dagster's database, or the disk below it: nothing of ours lets such an error through.
        reason = getattr(error, "orig", None) or error
        say(f"polycopy: {unusable(said_by(reason))}")
        sys.exit(1)
