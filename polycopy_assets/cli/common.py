"""What all commands share: their output, and their errors."""

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from sqlalchemy.exc import SQLAlchemyError

from polycopy_assets.cli.help import Documented
from polycopy_assets.errors import ConfigurationError, PolycopyError, with_notes
from polycopy_assets.record.place import database_error, database_failed
from polycopy_assets.settings.environment import settings
from polycopy_assets.settings.place import refuse_nothing
from polycopy_assets.system.interrupt import end_interrupted, raising_interrupts
from polycopy_assets.system.output import is_of_output


class Command(Documented):
    """A command that calls `ctx.obj`, if it is set, to read the settings before it runs.

    `--help` does not: it must work when a setting is wrong. With `needs_data` it refuses the
    wrong directory, in which there is nothing, and creates nothing there.
    """

    def __init__(self, *args: Any, needs_data: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self._needs_data = needs_data

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; a wrong setting is one line, and exit code 2."""
        if ctx.obj:
            with one_line_errors():
                ctx.obj()
                if self._needs_data:
                    refuse_nothing(settings(), Path())
        return super().invoke(ctx)


class Group(Documented, click.Group):
    """A group of such commands, and of such groups."""

    command_class = Command
    group_class = type


as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
)


def called() -> str:
    """How this command was called: `polycopy`, or the path of one that is not on the PATH."""
    path = Path(sys.argv[0])
    if path.name != "polycopy" or shutil.which("polycopy") == str(path.absolute()):
        return "polycopy"
    return sys.argv[0]


def say(text: str) -> None:
    """One line for people, on standard error: standard output is for results."""
    click.echo(text, err=True)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns our exceptions, and interrupts, into one line and an exit code.

    2 is configuration, 1 the rest.
    """
    try:
        with raising_interrupts():
            yield
    except PolycopyError as error:
        say(f"polycopy: {with_notes(error)}")
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)
    except KeyboardInterrupt:
        end_interrupted()
    except BrokenPipeError:
        raise  # the reader of our output is gone: not an error of the database
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        if isinstance(error, OSError) and is_of_output(error):
            raise  # the disk of our output is full, not that of the database
        # An error of Dagster's database or its disk: our own code catches all others of this kind.
        say(f"polycopy: {database_failed(error)}")
        sys.exit(1)
    except Exception as error:
        if not (found := database_error(error)):
            raise
        say(f"polycopy: {database_failed(found)}")
        sys.exit(1)
