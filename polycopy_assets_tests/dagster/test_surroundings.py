"""However odd it is around a command: one line, an exit code, and no traceback."""

import os
import shlex
import stat
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployed, Deployment, sample_api, truth

pytestmark = pytest.mark.exhaustive

POLYCOPY = Path(sysconfig.get_path("scripts")) / "polycopy"


def as_anybody() -> list[str]:
    """Starts a process that modes of files bind: root's right to pass over them is dropped."""
    if os.geteuid():
        return []
    rights = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]


def shell(deployment: Deployment, script: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script in which `polycopy` is the command, without root's rights."""
    program = f'polycopy() {{ {shlex.quote(str(POLYCOPY))} "$@"; }}\n'
    return subprocess.run(
        [*as_anybody(), "bash", "-c", program + script],
        env={**deployment.process_environ(), **environ},
        cwd=deployment.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("polycopy: ")
    assert all(word in done.stderr for word in words), done.stderr


def test_a_directory_that_is_gone(deployment: Deployment):
    done = shell(deployment, "mkdir gone; cd gone; rmdir ../gone; polycopy status")
    one_line(done, 2, "the directory you are in cannot be used")


@pytest.mark.parametrize(
    "script", ["chmod 0 .env", "rm .env; mkfifo .env", "printf '\\377' > .env"]
)
def test_an_env_file_that_cannot_be_read(deployment: Deployment, script: str):
    (deployment.root / ".env").write_text("POLYCOPY_TIMEOUT=9\n")
    one_line(shell(deployment, f"{script}; polycopy status"), 2, "cannot read", "/.env")


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"DAGSTER_HOME": "~/d"}, ["DAGSTER_HOME=", "Permission denied"]),
        ({"POLYCOPY_STORE": "~/s"}, ["POLYCOPY_STORE=", "Permission denied"]),
        ({"POLYCOPY_WAREHOUSE": "~/w.duckdb"}, ["POLYCOPY_WAREHOUSE=", "Permission denied"]),
        ({"POLYCOPY_STORE": "~nobody-of-that-name/s"}, ["POLYCOPY_STORE="]),
        ({"SSL_CERT_FILE": "/nowhere"}, ["SSL_CERT_FILE="]),
        ({"HTTPS_PROXY": "nonsense://me:hunter2@h"}, ["HTTPS_PROXY"]),
        ({"POLYCOPY_WAREHOSE": "w"}, ["did you mean POLYCOPY_WAREHOUSE?"]),
        ({"POLYCOPY_SHARED": "yes"}, ["POLYCOPY_SHARED='yes'", "no or group or all"]),
    ],
)
def test_a_home_that_may_not_be_entered_and_other_settings_that_cannot_be(
    deployment: Deployment, environ: dict[str, str], words: list[str]
):
    (deployment.root / "closed").mkdir(mode=0)
    home = {"HOME": str(deployment.root / "closed")}
    done = shell(deployment, "polycopy backfill", **home, **environ)
    one_line(done, 2, *words)
    assert "hunter2" not in done.stderr


def test_a_home_that_may_not_be_entered_and_is_not_used_stops_nothing(deployment: Deployment):
    (deployment.root / "closed").mkdir(mode=0)
    script = "polycopy init; polycopy backfill"
    done = shell(deployment, script, HOME=str(deployment.root / "closed"))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("chmod 0 dagster", 2, "DAGSTER_HOME"),
        ("chmod 0 dagster/dagster.yaml", 2, "dagster.yaml: Permission denied"),
        ("echo 'a: [hunter2' > dagster/dagster.yaml", 2, "dagster.yaml is not accepted"),
        ("echo 'hunter2: 1' > dagster/dagster.yaml", 2, "dagster.yaml is not accepted"),
        pytest.param(
            *("chmod 0 dagster/history/runs.db", 1, "Dagster's database"), marks=pytest.mark.files
        ),
        ("chmod 0 warehouse.duckdb", 2, "warehouse.duckdb: IO Error"),
        ("echo garbage > warehouse.duckdb", 2, "not a valid DuckDB database"),
        ("mkdir d; mv warehouse.duckdb d; ln -s d/warehouse.duckdb .; chmod 0 d", 2, "Permission"),
        ("rm -rf store; touch store", 2, "POLYCOPY_STORE="),
    ],
)
def test_files_that_are_locked_away_or_damaged(
    deployment: Deployment, script: str, code: int, words: str
):
    deployment.warehouse.check_writable()
    assert deployment.here("init")[0] == 0
    done = shell(deployment, f"{script}; polycopy status")
    (deployment.root / "dagster").chmod(0o700)
    one_line(done, code, words)
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(
    ("command", "redirect", "code"),
    [
        ("status", ">&-", 1),
        ("status", "> >(true)", 141),
        ("--help", "> >(true)", 141),
        ("walets", "2> >(true)", 141),
        ("query 'SELECT 1'", ">&-", 1),
        ("status --json", ">/dev/full", 1),
        ("backfill --json", "2>&-", 0),
        ("backfill", "<&- >&- 2>&-", 1),
        ("wallets add 0x12", "2>/dev/full", 1),
    ],
)
def test_output_that_nobody_takes(deployment: Deployment, command: str, redirect: str, code: int):
    deployment.warehouse.check_writable()
    done = shell(deployment, f"polycopy {command} {redirect}")
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("polycopy: ")]
    blamed = [f"polycopy: cannot write to standard output: {why}" for why in _UNWRITTEN]
    assert len(said) == (code == 1 and "2>" not in redirect)
    assert set(said) <= set(blamed)
    assert deployment.here("status")[0] == 0, "no database was written over"


_UNWRITTEN = ("it is closed", "No space left on device")


@pytest.mark.parametrize("command", ["status", "wallets list"])
def test_a_full_disk_is_blamed_on_the_output(deployment: Deployment, command: str):
    assert deployment.here("wallets", "add", "0x" + "1" * 40)[0] == 0
    done = shell(deployment, f"polycopy {command} >/dev/full")
    assert done.returncode == 1
    said = "polycopy: cannot write to standard output: No space left on device"
    assert done.stderr.splitlines() == [said]


def test_a_whole_backfill_with_everything_closed_writes_over_no_database(deployed: Deployed):
    world = generate(63, 2, most_trades=20)
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        done = shell(deployment, "polycopy backfill <&- >&- 2>&-")
        assert done.returncode == 1, "nobody got the report"
        assert deployment.here("status")[0] == 0
    assert deployment.table() == truth(world)


@pytest.mark.parametrize("command", ["--help", "status --help", "wallets add --help", "--version"])
def test_help_is_given_whatever_is_set(deployment: Deployment, command: str):
    (deployment.root / ".env").write_text("POLYCOPY_STROE\n")
    wrong = {"POLYCOPY_TIMEOUT": "soon", "DAGSTER_HOME": "~no-one/d"}
    done = shell(deployment, f"polycopy {command}", **wrong)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    one_line(shell(deployment, "polycopy status", **wrong), 2, "line 1: POLYCOPY_STROE")
    (deployment.root / ".env").unlink()
    one_line(shell(deployment, "polycopy status", **wrong), 2, "POLYCOPY_TIMEOUT")
    assert not (deployment.root / "dagster").exists()


def test_an_unexpected_exception_is_one_line_and_a_traceback_if_it_is_asked_for(
    deployment: Deployment,
):
    first = (
        "import polycopy_assets.settings.env_file as e\ndef take(*_): return 1 / 0\ne.take = take"
    )
    one_line(deployment.polycopy("status", first=first), 1, "ZeroDivisionError", "TRACEBACK=1")
    shown = deployment.polycopy("status", first=first, environ={"POLYCOPY_TRACEBACK": "1"})
    assert "Traceback (most recent call last)" in shown.stderr


def test_new_files_are_private_whoever_makes_them(tmp_path: Path):
    world = generate(61, 3, most_trades=20)
    with sample_api(world) as api:
        deployment = Deployment(tmp_path / "own", api.url)
        deployment.root.mkdir(mode=0o755)
        deployment.want(world.wallets())
        assert shell(deployment, "umask 0; polycopy backfill").returncode == 0
        done = subprocess.run(
            [
                *("bash", "-c", 'umask 0; exec "$@"', "bash", sys.executable, "-m", "dagster"),
                *("asset", "materialize", "-m", "polycopy_assets.definitions"),
                *("--select", "combined_trades,trades"),
            ],
            env=deployment.process_environ(),
            cwd=deployment.root,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert deployment.table() == truth(world)
    tops = [deployment.root / name for name in ("store", "dagster", "warehouse.duckdb")]
    assert [stat.S_IMODE(path.stat().st_mode) for path in tops] == [0o700, 0o700, 0o600]
    data = [
        p for p in deployment.root.rglob("*") if p.suffix in {".gz", ".db", ".parquet", ".json"}
    ]
    assert len(data) > 6
    assert {stat.S_IMODE(path.stat().st_mode) for path in data} == {0o600}


def test_a_foreign_env_file_does_not_get_the_key(deployment: Deployment):
    (deployment.root / ".env").write_text(
        "POLYCOPY_SOURCE=dome\nPOLYCOPY_SOURCE_URL=http://127.0.0.1:9\nHTTPS_PROXY=http://evil\n"
    )
    del deployment.environ["POLYCOPY_SOURCE_URL"]
    deployment.environ["DOME_API_KEY"] = "sk-mine-alone"
    told = "the key is not sent to an address that a file names"
    for command in ("backfill", "status"):
        done = deployment.polycopy(command)
        assert done.returncode == 2
        first, last = done.stderr.splitlines()
        assert first.endswith("POLYCOPY_SOURCE, POLYCOPY_SOURCE_URL; not read: HTTPS_PROXY")
        assert told in last
    (deployment.root / "dagster").mkdir()
    # Of Dagster's own command the file's values come before those of the environment.
    deployment.environ.update(POLYCOPY_SOURCE="polymarket", POLYCOPY_SOURCE_URL="https://mine")
    done = deployment.dagster("definitions", "validate", "-m", "polycopy_assets.definitions")
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert "sk-mine-alone" not in done.stdout + done.stderr
    with (deployment.root / ".env").open("a") as file:
        file.write("DOME_API_KEY=${DOME_API_KEY}\n")
    done = deployment.dagster("definitions", "validate", "-m", "polycopy_assets.definitions")
    assert done.returncode != 0
    assert "line 4: DOME_API_KEY holds ${…}" in done.stdout + done.stderr
    assert "sk-mine-alone" not in done.stdout + done.stderr


def test_code_that_a_foreign_env_file_names_is_run_by_dagsters_command_and_not_by_ours(
    tmp_path: Path,
    deployed: Deployed,
):
    world = generate(62, 1, most_trades=20)
    (tmp_path / "evil").mkdir()
    ran = tmp_path / "ran"
    (tmp_path / "evil" / "sitecustomize.py").write_text(f"open({str(ran)!r}, 'a').close()")
    (tmp_path / ".env").write_text(f"PYTHONPATH={tmp_path / 'evil'}\n")
    with deployed(world) as (deployment, _):
        deployment.want(world.wallets())
        done = deployment.polycopy("backfill")
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(f"polycopy: settings from {tmp_path}/.env: none; not read")
        assert not ran.exists()
        select = ("--select", "combined_trades")
        deployment.dagster("asset", "materialize", "-m", "polycopy_assets.definitions", *select)
    assert ran.exists(), "docs/operations.md says so"
