"""What `--help` says: examples that the command accepts, and a page that is there."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from polycopy_assets.cli import polycopy
from polycopy_assets.cli.help import Documented, document

COLUMNS = 80


def commands(group: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command and group, below `group`."""
    yield words
    if isinstance(group, click.Group):
        with click.Context(group) as context:
            for name in group.list_commands(context):
                found = group.get_command(context, name)
                assert found
                yield from commands(_loaded(found, context, name), (*words, name))


def _loaded(found: click.Command, context: click.Context, name: str) -> click.Command:
    """Commands are imported when they are called."""
    assert isinstance(context.command, click.Group)
    _, command, _ = context.command.resolve_command(context, [name])
    return command or found


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line's words call, and its arguments."""
    command: click.Command = polycopy
    while isinstance(command, click.Group) and words:
        with click.Context(command) as context:
            _, found, words = command.resolve_command(context, words)
        assert found
        command = found
    return command, words


ALL = sorted(commands(polycopy))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_help_of_each_command(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    done = CliRunner().invoke(polycopy, [*words, "--help"], terminal_width=COLUMNS)
    assert done.exit_code == 0, done.output
    page = Path(done.output.rstrip().splitlines()[-1].strip())
    assert page.is_file()
    assert page.suffix == ".md"
    *lines, _ = done.output.rstrip().splitlines()
    assert [line for line in lines if len(line) > COLUMNS] == []
    assert "..." not in "".join(lines).replace("ARGS]...", "").replace("]...", ""), "cut off"
    command, _ = command_of(list(words))
    assert isinstance(command, Documented)
    assert len(command.examples) >= 2
    options = [each for each in command.params if isinstance(each, click.Option)]
    assert [each.name for each in options if not each.help] == []


def test_each_example_is_accepted_by_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("my-wallets.txt", "question.sql"):
        Path(name).touch()
    for words in ALL:
        command, _ = command_of(list(words))
        assert isinstance(command, Documented)
        for line in command.examples:
            assert "…" not in line, "an example runs as written"
            inner = re.sub(r"^source <\((.*)\)$", r"\1", line).partition(">")[0]
            called = shlex.split(inner)
            called = called[called.index("polycopy") + 1 :]
            found, arguments = command_of(called)
            found.make_context("polycopy", arguments)
            assert words == () or tuple(called[: len(words)]) == words, line


def test_the_page_is_the_installed_one_where_there_is_no_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("polycopy_assets.cli.help.__file__", str(tmp_path / "a" / "b" / "c.py"))
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    monkeypatch.setattr("site.getuserbase", lambda: str(tmp_path / "user"))
    assert document("docs/install.md") == "docs/install.md of the source distribution"
    installed = tmp_path / "share" / "doc" / "polycopy-assets" / "docs" / "install.md"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert document("docs/install.md") == str(installed)
