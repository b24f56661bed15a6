"""`polycopy completion`: what a shell needs to complete our commands."""

import click
from click.shell_completion import get_completion_class

from polycopy_assets.cli.common import Command

SHELLS = ("bash", "fish", "zsh")


@click.command(
    "completion",
    cls=Command,
    examples=(
        "source <(polycopy completion bash)",
        "source <(polycopy completion zsh)",
        "polycopy completion fish > ~/.config/fish/completions/polycopy.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(*, shell: str) -> None:
    """Print the completion script of a shell.

    Source it in the shell's start-up file, ~/.bashrc or ~/.zshrc.
    """
    from polycopy_assets.cli import polycopy  # noqa: PLC0415 - it imports this module by its name

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    script = found(polycopy, {}, "polycopy", "_POLYCOPY_COMPLETE").source()
    # Only the first comma is not of the text: click's script shows a help up to its own first one.
    click.echo(script.replace('(string split ","', '(string split --max 1 ","'))
