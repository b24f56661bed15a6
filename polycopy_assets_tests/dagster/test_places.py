"""Where a command works: the directory with `.polycopy`, from anywhere below it."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets.cli.dev import check_free, hold_home
from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import place
from polycopy_assets_tests import forks
from polycopy_assets_tests.deployment import sample_api

WORLD = generate(51, 2)
NEED_DATA = (
    ["status", "--json"],
    ["backfill"],
    ["reconcile", "--apply"],
    ["maintain"],
    ["wallets", "list"],
    ["wallets", "remove", WORLD.wallets()[0]],
    ["query", "SELECT 1"],
    ["export", "--to", "trades.csv"],
)


def run(cwd: Path, *args: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command in `cwd`, with these settings and no others."""
    own = ("POLYCOPY_", "DAGSTER_")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return forks.run(args, environ={**plain, **settings}, cwd=cwd, first="", timeout=120)


def everything(folder: Path) -> dict[str, int]:
    """All files below a folder, and when they were changed."""
    return {str(each): each.stat().st_mtime_ns for each in folder.rglob("*") if each.is_file()}


@pytest.mark.parametrize("args", NEED_DATA, ids=" ".join)
def test_the_wrong_directory_is_said_and_nothing_is_created(tmp_path: Path, args: list[str]):
    done = run(tmp_path, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"polycopy: there is nothing in {tmp_path}: no .polycopy")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_wallet_begins_no_place(tmp_path: Path):
    done = run(tmp_path, "wallets", "add", "0x12")
    assert (done.returncode, done.stdout) == (2, "0 added, 0 known already, 1 refused\n")
    assert done.stderr == "refused: '0x12' is not a wallet (expected 0x and 40 hex digits)\n"
    assert list(tmp_path.iterdir()) == []


def test_a_command_works_in_the_place_above(tmp_path: Path):
    below = tmp_path / "notes" / "today"
    below.mkdir(parents=True)
    with sample_api(WORLD) as served:
        settings = {"POLYCOPY_SOURCE_URL": served.url, "POLYCOPY_MAX_LAG": "1000000000"}
        added = run(tmp_path, "wallets", "add", *WORLD.wallets(), **settings)
        assert added.returncode == 0, added.stderr
        home = tmp_path / ".polycopy" / "dagster"
        done = run(below, "backfill", **settings)
        assert done.returncode == 0, done.stderr
        assert f"working in {tmp_path}, where .polycopy is" in done.stderr
        quiet = run(below, "backfill", "--refresh", "--quiet", **settings)
        assert "wallets," not in quiet.stderr
        verbose = run(below, "backfill", "--refresh", "--verbose", **settings)
        assert "wallet_trades" in verbose.stderr, "the log of the run"
    assert list(below.iterdir()) == []
    before = everything(tmp_path / ".polycopy")
    status = run(below, "status")
    assert status.returncode == 0
    assert f"{WORLD.count():,}" in status.stdout
    assert everything(tmp_path / ".polycopy").keys() == before.keys()
    for file in sorted(home.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    home.rmdir()
    assert run(below, "status").returncode == 0
    assert run(below, "maintain", "--dry-run").returncode == 0
    assert not home.exists(), "a command that reads creates no Dagster home"


def test_a_setting_comes_before_the_place_above(tmp_path: Path):
    below, other = tmp_path / "below", tmp_path / "other"
    (tmp_path / ".polycopy").mkdir()
    below.mkdir()
    environ: dict[str, str] = {"POLYCOPY_STORE": "mine", "DAGSTER_HOME": str(other)}
    place.anchor(environ, tmp_path, frozenset(environ))
    assert environ == {
        "POLYCOPY_STORE": "mine",
        "DAGSTER_HOME": str(other),
        "POLYCOPY_WAREHOUSE": str(tmp_path / ".polycopy" / "warehouse.duckdb"),
    }


def test_what_the_file_above_sets_is_relative_to_it(tmp_path: Path):
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / ".polycopy").mkdir()
    (tmp_path / ".env").write_text("POLYCOPY_STORE=kept/store\nPOLYCOPY_WAREHOUSE=t.duckdb\n")
    (tmp_path / "kept" / "store").mkdir(parents=True)
    done = run(below, "wallets", "add", WORLD.wallets()[0])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "t.duckdb").is_file()
    assert list(below.iterdir()) == []
    assert (tmp_path / "kept" / "store" / "store-identity.json").is_file()


def test_a_directory_with_an_env_file_is_a_place_of_its_own(tmp_path: Path):
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / ".polycopy").mkdir()
    assert place.root(below) == tmp_path
    (below / ".env").write_text("")
    assert place.root(below) == below


def test_another_users_place_is_not_used_from_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    below = tmp_path / "below"
    below.mkdir()
    (tmp_path / ".polycopy").mkdir()
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000)
    assert place.root(below) == below
    assert place.root(tmp_path) == tmp_path, "whoever stands in it has chosen it"


@pytest.mark.parametrize("what", [".polycopy", ".env"])
def test_another_users_link_or_file_is_not_used_from_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    """Anybody may put a link to a directory of ours, or an `.env`, into /tmp."""
    below, ours = tmp_path / "shared/below", tmp_path / "ours"
    below.mkdir(parents=True)
    ours.mkdir()
    if what == ".polycopy":
        (below.parent / what).symlink_to(ours)
    else:
        (below.parent / ".polycopy").mkdir()
        (below.parent / what).write_text("POLYCOPY_SOURCE_URL=http://127.0.0.1:9")
    assert place.root(below) == below.parent
    stat = os.stat

    def of_others(path: Path, *args: Any, **options: Any) -> Any:
        found = stat(path, *args, **options)
        if Path(path).name == what and not options.get("follow_symlinks", True):
            return os.stat_result((*found[:4], 4_000_000, *found[5:10]))
        return found

    monkeypatch.setattr("os.stat", of_others)
    assert place.root(below) == below
    monkeypatch.undo()
    (below.parent / ".env").unlink(missing_ok=True)
    (below.parent / ".env").symlink_to(tmp_path / "nothing")
    assert place.root(below) == below, "a link to nothing"


@pytest.mark.parametrize(
    "settings",
    [
        {"POLYCOPY_STORE": "gs://bucket"},
        {"POLYCOPY_INSTANCE": "postgresql://user@localhost/dagster"},
        {"POLYCOPY_INSTANCE": "ephemeral"},
    ],
)
def test_what_lies_elsewhere_need_not_lie_here(tmp_path: Path, settings: Mapping[str, str]):
    from polycopy_assets.settings import read_settings

    home = {"DAGSTER_HOME": str(tmp_path / "home"), "POLYCOPY_STORE": str(tmp_path / "store")}
    with pytest.raises(ConfigurationError, match="there is nothing in"):
        place.refuse_nothing(read_settings({**home, "POLYCOPY_WAREHOUSE": "no.duckdb"}), tmp_path)
    place.refuse_nothing(read_settings({**home, **settings}), tmp_path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(tmp_path: Path, shell: str):
    script = run(tmp_path, "completion", shell)
    assert 'split ","' not in script.stdout, "fish: a help may have a comma"
    assert "_POLYCOPY_COMPLETE" in script.stdout
    asked = {
        "COMP_WORDS": "polycopy backfill --re",
        "COMP_CWORD": "2" if shell != "fish" else "--re",
    }
    done = run(tmp_path, **asked, _POLYCOPY_COMPLETE=f"{shell}_complete")
    assert "--refresh" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_ui_needs_a_record_and_a_free_port(tmp_path: Path):
    done = run(tmp_path, "dev", POLYCOPY_INSTANCE="ephemeral")
    assert done.returncode == 2
    assert "keeps no record for a UI to show" in done.stderr
    with sample_api(WORLD) as served:
        port = served.url.rsplit(":", 1)[1]
        done = run(tmp_path, "dev", "--port", port)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use. Choose" in done.stderr


def test_a_home_has_one_ui_at_a_time(tmp_path: Path):
    run(tmp_path, "init")
    home = tmp_path / place.FOLDER / "dagster"
    with (home / "dev.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(tmp_path, "dev", "--port", "65535")
        assert done.returncode == 2
        assert done.stderr.startswith(f"polycopy: `polycopy dev` runs on {home} already: use its")
    hold_home(str(home))  # held until this process ends, as it would be for `dagster dev`
    assert run(tmp_path, "dev", "--port", "65535").returncode == 2


def test_ctrl_c_while_a_shell_asks_for_words_says_nothing_in_its_line(tmp_path: Path):
    asks = {**os.environ, "_POLYCOPY_COMPLETE": "bash_complete"}
    asks |= {"COMP_WORDS": "polycopy ba", "COMP_CWORD": "1"}
    code = "import os; from polycopy_assets import __main__ as command"
    code += "; command._run = lambda: os.kill(os.getpid(), 2); command.main()"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=asks, cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_any_address_of_the_machine_is_free_or_taken(host: str):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, 0), family=family)
    except OSError as error:
        pytest.skip(f"this machine has no {host}: {error}")
    with listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match="Address already in use"):
            check_free(host, port)
    assert check_free(host, port) == f"http://{'[::1]' if ':' in host else host}:{port}"


@pytest.mark.parametrize("host", ["", " ", "a" * 300, "x..y", "192.0.2.7"])
def test_an_address_that_is_not_of_the_machine_is_refused_in_one_line(host: str):
    with pytest.raises(ConfigurationError) as refused:
        check_free(host, 3000)
    assert str(refused.value).startswith("--host ")
    assert str(refused.value).isprintable()
