"""The ways to write where Postgres is, with any password; each error names host and database."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.fakes.postgres_access import (
    ODD,
    ask_for_passwords,
    new_role,
    old_server,
    url_of,
)
from polycopy_assets_tests.instances import execute, on_postgres
from polycopy_assets_tests.leaks import traces

pytestmark = pytest.mark.exhaustive

WAYS = ("variable", "postgres_url", "postgres_db", "parts")


@pytest.fixture(scope="module")
def asking(server: str) -> str:
    """The server; it checks passwords."""
    ask_for_passwords(server)
    return server


def _write(deployment: Deployment, way: str, url: str) -> None:
    """Has the deployment's instance at `url`, written as people write it."""
    if way == "variable":
        deployment.environ["POLYCOPY_INSTANCE"] = url
    elif way == "postgres_db":
        deployment.environ.pop("POLYCOPY_INSTANCE", None)
        parts = urlsplit(url)
        written = {
            "username": parts.username,
            "password": unquote(parts.password or ""),
            "hostname": parts.hostname,
            "port": parts.port,
            "db_name": parts.path[1:],
        }
        home = Path(deployment.settings.home)
        home.mkdir(parents=True, exist_ok=True)
        content = {"storage": {"postgres": {"postgres_db": written}}}
        (home / "dagster.yaml").write_text(yaml.safe_dump(content))
    else:
        on_postgres(deployment, "", {"postgres_url": "short"}.get(way, way), url=url)


@pytest.mark.parametrize("way", WAYS)
def test_any_password_works_at_the_first_try(deployed: Deployed, asking: str, way: str):
    world = generate(191, 3, most_trades=10)
    url = new_role(asking, ODD)
    with deployed(world) as (deployment, _):
        _write(deployment, way, url)
        added = deployment.polycopy("wallets", "add", *world.wallets())
        done = deployment.polycopy("backfill")
        valid = deployment.dagster("instance", "info")
        for each in (added, done, valid):
            assert each.returncode == 0, each.stderr
            assert not traces(ODD, each.stderr)
        assert not list(Path(deployment.settings.home).rglob("*.db"))
    assert execute(url, "SELECT count(*) > 3 FROM event_logs") == [(True,)]
    assert deployment.table() == truth(world)


@pytest.mark.parametrize("way", ["variable", "postgres_db"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("down", "Connection refused"),
        ("password", "password authentication failed for user"),
        ("database", "does not exist"),
        ("rights", "permission denied for schema public"),
        ("old", "Postgres 10."),
    ],
)
def test_each_error_is_one_line_with_host_and_database(
    deployment: Deployment, asking: str, way: str, fault: str, words: str
):
    with old_server(asking) as old:
        url = new_role(asking, ODD, owner=fault != "rights")
        parts = urlsplit(url)
        role, database, port = parts.username or "", parts.path[1:], parts.port
        if fault in {"down", "old"}:
            port = 9 if fault == "down" else old
            url = url.replace(f":{parts.port}/", f":{port}/")
        elif fault == "password":
            url = url_of(asking, role, f"{ODD}x", database)
        elif fault == "database":
            url, database = f"{url}x", f"{database}x"
        _write(deployment, way, url)
        # What takes a lock: Dagster itself also works with a server that has not all we need.
        deployment.warehouse.add_traders([f"0x{1:040x}"])
        failed = deployment.polycopy("backfill")
    assert failed.returncode == 1
    *retries, told = failed.stderr.splitlines()
    assert f"'{database}' on 127.0.0.1:{port} cannot be used" in told
    assert words in told
    assert "gone" not in failed.stderr
    assert "Traceback" not in failed.stderr
    retried = [line for line in retries if line.count("Retrying failed database connection: ") == 1]
    assert fault == "old" or retried == retries, "nothing but an old server lets the fetch begin"
    assert not traces(ODD, failed.stderr)
