"""`deploy/compose.yaml`: its services as separate processes, and a backfill of the UI by them."""

import json
from pathlib import Path

import httpx
import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets_tests.composed import Composed, composed, in_order, services
from polycopy_assets_tests.deployment import Deployed, Deployment, truth
from polycopy_assets_tests.dev import Ui, wait_for
from polycopy_assets_tests.fakes.postgres import PASSWORD, new_database

OURS = ("init", "code", "webserver", "daemon")
SECRET = {"DB_PASSWORD": PASSWORD}


def test_all_processes_but_postgres_are_one_image_that_can_write_to_the_volume_alone():
    every = services(SECRET)
    assert in_order(every) == ["postgres", "init", "code", "webserver", "daemon"]
    assert len({every[name]["image"] for name in OURS}) == 1
    for name in OURS:
        service = every[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["volumes"] == ["scratch:/scratch"]
        assert "user" not in service, "the image says who it runs as"


def test_the_key_of_the_source_reaches_the_code_alone_and_the_ui_is_on_loopback_alone():
    every = services(SECRET)
    with_key = {name for name in every if "DOME_API_KEY" in every[name].get("environment", {})}
    assert with_key == {"code"}
    assert [each["ports"] for each in every.values() if "ports" in each] == [
        ["127.0.0.1:3000:3000"]
    ]


def test_without_a_password_for_the_database_compose_says_what_to_set():
    with pytest.raises(KeyError, match="set DB_PASSWORD"):
        services({})


@pytest.mark.dev
@pytest.mark.timeout(420)
def test_a_backfill_of_the_ui_is_run_by_the_services_as_compose_starts_them(
    tmp_path: Path, deployed: Deployed, server: str
):
    world = generate(211, 12, most_trades=60)
    keys = [wallet.lower() for wallet in world.wallets()]
    names = ("POLYCOPY_SOURCE_URL", "POLYCOPY_RATE_LIMIT", "POLYCOPY_MAX_LAG")
    with deployed(world) as (deployment, served):
        given = {name: deployment.environ[name] for name in names}
        with composed(tmp_path, new_database(server), {**SECRET, **given}) as compose:
            inside = _inside(compose)
            added = inside.polycopy("wallets", "add", *keys, new=True)
            assert added.returncode == 0, added.stderr
            ui = Ui(compose.url, compose.running["webserver"].pid)
            wait_for(lambda: _answers(compose.url), 90, "the webserver")
            backfill = ui.launch_backfill(keys)
            wait_for(lambda: _ended(ui, backfill), 240, "the end of the backfill")
            assert ui.backfill_status(backfill) == "COMPLETED_SUCCESS", _logs(compose)
            wait_for(lambda: _rows(inside) == truth(world).total(), 120, "the whole table")
            told = inside.polycopy("status", "--json", new=True)
            for name in ("code", "webserver", "daemon"):
                assert compose.running[name].poll() is None, compose.log(name).read_text()[-2000:]
            assert "Traceback" not in _logs(compose)
            requests = served.state.counts.trade_requests
            again = inside.polycopy("backfill", new=True)
        assert again.returncode == 0, again.stderr
        assert served.state.counts.trade_requests == requests
    assert f'"complete":{len(keys)}' in told.stdout
    assert inside.table() == truth(world)


def _inside(compose: Composed) -> Deployment:
    """The deployment as a command in the container `code` sees it."""
    inside = Deployment(compose.scratch, "")
    inside.environ = compose.environ_of("code")
    return inside


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/server_info", timeout=5).is_success
    except httpx.TransportError:
        return False


def _ended(ui: Ui, backfill: str) -> bool:
    return ui.backfill_status(backfill) not in {"REQUESTED", "COMPLETING"}


def _rows(inside: Deployment) -> int:
    """The rows of the table; -1 while a run has it."""
    told = inside.polycopy("status", "--json", new=True)
    return int(json.loads(told.stdout or "{}").get("table_rows", -1))


def _logs(compose: Composed) -> str:
    return "\n".join(compose.log(name).read_text() for name in OURS)
