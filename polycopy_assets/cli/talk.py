"""How much a long command says while it works: `--quiet` and `--verbose`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

_QUIET, _VERBOSE = "polycopy.quiet", "polycopy.verbose"
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def talkative(function: _Decorated) -> _Decorated:
    """Gives a command `--quiet` and `--verbose`; the command itself does not see them."""
    quiet = click.option(
        *("-q", "--quiet"),
        is_flag=True,
        expose_value=False,
        callback=_note(_QUIET),
        help="Show no progress. Results and errors are shown.",
    )
    verbose = click.option(
        *("-v", "--verbose"),
        is_flag=True,
        expose_value=False,
        callback=_note(_VERBOSE),
        help="Also show the log of the runs.",
    )
    return quiet(verbose(function))


def is_quiet() -> bool:
    """Whether the command that runs was told to show no progress."""
    return _noted(_QUIET)


def is_verbose() -> bool:
    """Whether the command that runs was told to show the log of its runs."""
    return _noted(_VERBOSE)


def _note(name: str) -> Callable[[click.Context, click.Parameter, bool], bool]:
    def note(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:  # noqa: FBT001
        if value:
            ctx.meta[name] = True
        if ctx.meta.get(_QUIET) and ctx.meta.get(_VERBOSE):
            raise click.UsageError("--quiet and --verbose exclude each other")
        return value

    return note


def _noted(name: str) -> bool:
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(name))
