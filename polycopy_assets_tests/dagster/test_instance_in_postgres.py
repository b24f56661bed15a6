"""Dagster's instance in Postgres, as a new user sets it up: it works, or one line says why not."""

import os
import subprocess
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import pytest
import yaml
from sqlalchemy import text

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import World
from polycopy_assets.errors import PolycopyError
from polycopy_assets.postgres_storage import PooledPostgresStorage
from polycopy_assets.record.private.database import event_log
from polycopy_assets.settings.instance import with_driver
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.dev import ROOT, dagster_dev, processes, wait_for
from polycopy_assets_tests.fakes.postgres import PASSWORD, new_database
from polycopy_assets_tests.instances import FORMS, execute, on_postgres
from polycopy_assets_tests.leaks import everything, traces

pytestmark = pytest.mark.exhaustive

GONE = "postgresql://polycopy:pssst%2Fsecret%40word@127.0.0.1:9/nothing"
SECRET = "pssst/secret@word"
_WITHOUT_EXTRA = """
import sys
import zlib
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"dagster_postgres", "psycopg2"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""


def _world() -> World:
    return generate(171, 6, most_trades=20)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2"])
def test_the_url_of_an_empty_database_is_all_that_is_needed(
    tmp_path: Path, deployed: Deployed, server: str, scheme: str
):
    world = _world()
    url = new_database(server).replace("postgresql", scheme)
    with deployed(world, POLYCOPY_INSTANCE=url) as (deployment, _):
        assert deployment.polycopy("init").stderr == ""
        added = deployment.polycopy("wallets", "add", *world.wallets())
        done = deployment.polycopy("backfill")
        again = deployment.dagster(
            *("asset", "materialize", "-m", "polycopy_assets.definitions"),
            *("--select", "wallet_trades", "--partition", world.wallets()[0].lower()),
        )
        with deployment.instance() as instance:
            assert isinstance(event_log(instance), type(_event_log(url)))
            assert len(instance.get_runs()) >= 2
    for each in (added, done, again):
        assert each.returncode == 0, each.stderr
        assert "Traceback" not in each.stderr
    assert deployment.table() == truth(world)
    assert not list((tmp_path / "dagster").rglob("*.db"))


def _event_log(url: str) -> object:
    return PooledPostgresStorage(url).event_log_storage


def test_the_dagster_yaml_for_postgres_has_all_that_the_one_for_files_has(
    tmp_path: Path, server: str
):
    written = {}
    for name, instance in (("files", "sqlite"), ("postgres", new_database(server))):
        deployment = Deployment(tmp_path / name, "http://127.0.0.1:9", POLYCOPY_INSTANCE=instance)
        deployment.root.mkdir()
        assert deployment.polycopy("init").returncode == 0
        home = Path(deployment.settings.home)
        written[name] = yaml.safe_load((home / "dagster.yaml").read_text())
    storages = {key for key in written["files"] if key.endswith("_storage")}
    assert len(storages) == 3
    storage = written["postgres"].pop("storage")
    assert storage["custom"]["config"] == {"postgres_url": {"env": "POLYCOPY_INSTANCE"}}
    assert written["postgres"] == {
        key: value for key, value in written["files"].items() if key not in storages
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_dagster_yaml_as_dagster_documents_it_works_as_it_is(
    deployed: Deployed, server: str, form: str
):
    world = _world()
    with deployed(world) as (deployment, _):
        on_postgres(deployment, server, form)
        deployment.want(world.wallets())
        done = deployment.polycopy("backfill")
        assert done.returncode == 0, done.stderr
        valid = deployment.dagster("definitions", "validate", "-m", "polycopy_assets.definitions")
        assert valid.returncode == 0, valid.stderr
    assert deployment.table() == truth(world)


@pytest.mark.parametrize("form", ["ours", *FORMS])
def test_statements_of_a_process_share_a_connection(deployment: Deployment, server: str, form: str):
    deployment.environ.pop("POLYCOPY_INSTANCE", None)
    if form == "ours":
        deployment.environ["POLYCOPY_INSTANCE"] = new_database(server)
    else:
        on_postgres(deployment, server, form)
    with deployment.instance() as instance:
        sessions = {_session(instance) for _ in range(5)}
        assert len(sessions) == 1
        # A restart of the server, or a firewall, ends it: the next statement has another.
        execute(server, f"SELECT pg_terminate_backend({sessions.pop()})")
        assert instance.get_runs_count() == 0
        assert _session(instance) == _session(instance)
        kept = _session(instance)
    alive = f"SELECT pid FROM pg_stat_activity WHERE pid = {kept}"
    wait_for(lambda: not execute(server, alive), 20, "the end of the session")


def _session(instance: dg.DagsterInstance) -> int:
    with event_log(instance).index_connection() as connection:  # type: ignore[attr-defined]
        return connection.execute(text("SELECT pg_backend_pid()")).scalar()


@pytest.mark.parametrize("command", [["init"], ["backfill"], ["status", "--json"]])
def test_without_the_extra_one_line_says_what_to_install(
    deployment: Deployment, command: list[str]
):
    for environ in ({"POLYCOPY_INSTANCE": GONE}, {}):
        if not environ:
            _write_yaml(deployment, {"storage": {"postgres": {"postgres_url": GONE}}})
        deployment.environ.pop("POLYCOPY_INSTANCE", None)
        failed = deployment.polycopy(*command, first=_WITHOUT_EXTRA, new=True, environ=environ)
        assert failed.returncode == 2
        assert failed.stderr.count("\n") == 1, failed.stderr
        assert "pip install 'polycopy-assets[postgres]'" in failed.stderr


@pytest.mark.parametrize("form", ["ours", *FORMS])
def test_a_server_that_does_not_answer_is_one_line_and_nobody_is_told_to_rebuild_the_record(
    deployment: Deployment, form: str
):
    environ = {"POLYCOPY_INSTANCE": GONE} if form == "ours" else {}
    deployment.environ.pop("POLYCOPY_INSTANCE", None)
    if form != "ours":
        on_postgres(deployment, "", form, url=with_driver(GONE))
    failed = deployment.polycopy("status", environ=environ)
    assert failed.returncode == 1
    told = failed.stderr.splitlines()[-1]
    named = "'nothing' on 127.0.0.1:9"
    assert told.startswith(f"polycopy: Dagster's Postgres database {named} cannot be used: conn")
    assert "port 9 failed: Connection refused" in told
    assert "gone" not in failed.stderr
    assert "Traceback" not in failed.stderr
    assert all(line.count("Retrying") == 1 for line in failed.stderr.splitlines()[:-1])
    assert not traces(SECRET, failed.stderr)


def test_a_database_that_is_not_there_is_named(deployment: Deployment, server: str):
    url = f"{new_database(server)}x"
    failed = deployment.polycopy("backfill", environ={"POLYCOPY_INSTANCE": url})
    assert failed.returncode == 1
    assert f'database "{url.rpartition("/")[2]}" does not exist' in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_a_home_of_another_kind_is_not_taken_for_the_one_in_postgres(
    deployment: Deployment, server: str
):
    deployment.environ.pop("POLYCOPY_INSTANCE", None)
    assert deployment.polycopy("init").returncode == 0
    yaml_of = Path(deployment.settings.home) / "dagster.yaml"
    before, url = yaml_of.read_text(), new_database(server)
    failed = deployment.polycopy("status", environ={"POLYCOPY_INSTANCE": url})
    assert failed.returncode == 2
    assert "keeps Dagster's record in files: unset POLYCOPY_INSTANCE, or move" in failed.stderr
    assert yaml_of.read_text() == before
    yaml_of.unlink()
    assert deployment.polycopy("init", environ={"POLYCOPY_INSTANCE": url}).returncode == 0
    forgotten = deployment.polycopy("status")
    assert forgotten.returncode == 2
    assert "needs POLYCOPY_INSTANCE, which is not set" in forgotten.stderr
    for value, said in (("", "is empty"), ("sqlite", "is 'sqlite'")):
        other = deployment.polycopy("status", environ={"POLYCOPY_INSTANCE": value})
        assert other.returncode == 2, other.stderr
        assert f"needs POLYCOPY_INSTANCE, which {said}: export the URL" in other.stderr
        assert other.stderr.count("\n") == 1
    another = deployment.polycopy("status", environ={"POLYCOPY_INSTANCE": new_database(server)})
    assert another.returncode == 0, "the file names the variable, not a database"


def test_a_run_of_dagsters_own_in_a_home_of_another_kind_fetches_nothing(
    deployed: Deployed, server: str
):
    world = _world()
    with deployed(world) as (deployment, served):
        deployment.environ.pop("POLYCOPY_INSTANCE", None)
        deployment.want(world.wallets())
        deployment.environ["POLYCOPY_INSTANCE"] = new_database(server)
        failed = deployment.dagster(
            *("asset", "materialize", "-m", "polycopy_assets.definitions"),
            *("--select", "wallet_trades", "--partition", world.wallets()[0].lower()),
        )
        assert failed.returncode == 1
        assert "keeps Dagster's record in files" in failed.stdout + failed.stderr
        assert served.state.counts.trade_requests == 0


def test_the_password_is_in_no_output_file_cell_or_command_line(
    tmp_path: Path, deployed: Deployed, server: str
):
    world = _world()
    url = new_database(server)
    assert PASSWORD in url
    with deployed(world, POLYCOPY_INSTANCE=url, POLYCOPY_TRACEBACK="1") as (deployment, _):
        deployment.want(world.wallets())
        said = [
            each.stdout + each.stderr
            for each in (
                deployment.polycopy("backfill", "--json"),
                deployment.polycopy("status"),
                deployment.polycopy("reconcile"),
                deployment.polycopy("init", environ={"POLYCOPY_INSTANCE": GONE}),
                deployment.dagster("instance", "info"),
            )
        ]
        assert SECRET not in repr(deployment.settings)
        with dagster_dev(deployment) as ui:
            lines = [_command_line(pid) for pid in processes(ui.leader)]
            assert any("grpc" in line for line in lines)
            backfill = ui.launch_backfill([world.wallets()[0].lower()])
            lines += [_command_line(pid) for pid in processes(ui.leader)]
            assert backfill
    places = [*said, *lines, *(what for _, what in everything(tmp_path)), *_dump(url)]
    assert len(places) > 50
    for what in places:
        assert not traces(SECRET, what), what[:2000]
        assert not traces(PASSWORD, what), what[:2000]


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def _dump(url: str) -> list[str]:
    """Every row of every table of the database at `url`."""
    tables = execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [row for (name,) in tables for row in execute(url, f'SELECT * FROM "{name}"')]
    assert len(rows) > 50
    return [" ".join(_shown(cell) for cell in row) for row in rows]


def _shown(cell: object) -> str:
    """The text of a cell; Dagster packs some."""
    if not isinstance(cell, memoryview):
        return str(cell)
    data = bytes(cell)
    return (zlib.decompress(data) if data[:1] == b"\x78" else data).decode()


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:secretword@h/d",
        "postgresql://u:secret@word@h/d",
        "postgresql://u:secret/word@h/d",
        "postgresql://u:secret#word@h/d",
        "postgresql://u:secretword",
        "postgresql://u:secretword@h",
        "postgresql://u:secret%word@h/d",
        " postgresql://u:secretword@h/d",
        "mysql://u:secretword@h/d",
    ],
)
def test_a_url_that_is_read_in_two_ways_is_refused_and_not_shown(deployment: Deployment, url: str):
    failed = deployment.polycopy("status", environ={"POLYCOPY_INSTANCE": url})
    assert failed.returncode == 2
    assert failed.stderr.startswith("polycopy: POLYCOPY_INSTANCE is not accepted")
    assert failed.stderr.count("\n") == 1
    assert "secret" not in failed.stderr


def test_two_hosts_that_create_the_tables_at_once_both_end_well(tmp_path: Path, server: str):
    url = new_database(server)
    environs = [_host(tmp_path / f"host{number}", url) for number in range(4)]
    processes_ = [
        subprocess.Popen(
            [sys.executable, "-m", "polycopy_assets", "init"],
            env={**os.environ, **environ},
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for environ in environs
    ]
    said = [process.communicate(timeout=120)[1] for process in processes_]
    assert [process.returncode for process in processes_] == [0] * 4, said
    assert said == [""] * 4
    assert _unfinished(url) == []


def _host(root: Path, url: str) -> Mapping[str, str]:
    root.mkdir()
    return {**Deployment(root, "http://127.0.0.1:9").environ, "POLYCOPY_INSTANCE": url}


def _unfinished(url: str) -> list[tuple[object, ...]]:
    """Data migrations that were not noted as done, and our marker."""
    migrations = "SELECT name FROM secondary_indexes WHERE migration_completed IS NULL"
    marker = "SELECT tablename FROM pg_tables WHERE tablename = 'polycopy_creating'"
    return execute(url, migrations) + execute(url, marker)


@pytest.mark.parametrize("after", [1, 2, 5, 9, 14])
def test_tables_of_a_killed_creation_are_created_again(
    deployment: Deployment, server: str, after: int
):
    url = new_database(server)
    deployment.environ["POLYCOPY_INSTANCE"] = url
    dying = f"""
import os
from sqlalchemy import event, Engine
left = [{after}]
@event.listens_for(Engine, "after_cursor_execute")
def dying(connection, cursor, statement, parameters, context, executemany):
    if statement.strip().startswith("CREATE TABLE"):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), 9)
"""
    assert deployment.polycopy("init", first=dying).returncode == -9
    done = deployment.polycopy("status", "--json")
    assert done.returncode == 0, done.stderr
    assert _unfinished(url) == []
    whole = new_database(server)
    PooledPostgresStorage(whole)
    count = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    assert execute(url, count) == execute(whole, count)
    indexes = "SELECT name FROM secondary_indexes ORDER BY 1"
    assert execute(url, indexes) == execute(whole, indexes)


def test_a_database_with_data_is_kept_whatever_the_marker_says(deployment: Deployment, server: str):
    url = deployment.environ["POLYCOPY_INSTANCE"] = new_database(server)
    wallet = "0x" + "a" * 40
    assert deployment.polycopy("wallets", "add", wallet).returncode == 0
    execute(url, "CREATE TABLE polycopy_creating ()")
    assert '"total":1' in deployment.polycopy("status", "--json").stdout
    assert _unfinished(url) == []


def test_the_exception_for_a_lost_server_keeps_no_url():
    with pytest.raises(PolycopyError) as raised:
        PooledPostgresStorage(GONE)
    assert raised.value.__cause__ is None
    assert not traces(SECRET, repr(raised.value))


def _write_yaml(deployment: Deployment, content: Mapping[str, object]) -> None:
    home = Path(deployment.settings.home)
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(yaml.safe_dump(content))
