"""What all tests share."""

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from dagster._core.storage.defs_state.base import set_defs_state_storage
from hypothesis import HealthCheck, settings

from polycopy_assets.demo.server import Served
from polycopy_assets.demo.world import World
from polycopy_assets_tests import revisions
from polycopy_assets_tests.deployment import INSTANCE, Deployed, Deployment, sample_api
from polycopy_assets_tests.fakes.postgres import SERVER, postgres


def _kinds() -> list[str]:
    chosen = os.environ.get(INSTANCE)
    return [chosen] if chosen else ["sqlite", "postgres"]


MEMORY = Path("/dev/shm")
MEMORY_BYTES = 4 * 2**30

# No test is about how fast the machine is: a busy one generates slowly, and misses a deadline.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


def pytest_configure() -> None:
    """Has Ctrl-C reach the processes that tests start, also if it does not reach the tests.

    A shell that starts the tests in the background has them ignore SIGINT, and whatever they start
    would inherit that. Each worker process of pytest-xdist comes through here as well.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _use_memory_for_files()


def _use_memory_for_files() -> None:
    """Has `tmp_path` lie in memory if there is room: hundreds of SQLite files wait for the disk."""
    chosen = {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"} & os.environ.keys()
    if not chosen and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_collection_finish() -> None:
    """Has the garbage collector leave alone what is imported and collected: none of it goes."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Has it look at everything again: else DuckDB takes what is frozen for leaks, and says so."""
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is in `crash/`, and runs it once more when it fails; the summary names it.

    Such a test has to meet a moment, and on a loaded machine it may miss it. A test that fails
    twice has found something.
    """
    for item in items:
        kept = os.environ.get(INSTANCE)
        if item.get_closest_marker("files") and kept in {"postgres", "ephemeral"}:
            item.add_marker(pytest.mark.skip(reason="about the files of an instance on SQLite"))
        if item.get_closest_marker("kept") and kept == "ephemeral":
            item.add_marker(pytest.mark.skip(reason="about an instance that outlasts a command"))
        if "crash" in item.path.parts:
            item.add_marker(pytest.mark.crash)
        if "crash" in item.path.parts or item.get_closest_marker("dev"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session", autouse=True)
def _revisions_read_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", revisions.read_once)
        yield


@pytest.fixture(autouse=True)
def _no_instance_of_another_test() -> Iterator[None]:
    """Has Dagster forget whose definitions it loaded last.

    It keeps that for a process. Where instances are left in another order than they were entered,
    one that is gone stays there, and the next definitions that are resolved look into it.
    """
    with set_defs_state_storage(None):
        yield


@pytest.fixture
def deployed(tmp_path: Path) -> Deployed:
    """Deployments below `tmp_path`, each with the sample API as its source."""

    @contextmanager
    def serving(world: World, **options: Any) -> Iterator[tuple[Deployment, Served]]:
        settings = {name: value for name, value in options.items() if name.isupper()}
        others = {name: value for name, value in options.items() if not name.isupper()}
        with sample_api(world, **others) as served:
            yield Deployment(tmp_path, served.url, **settings), served

    return serving


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    """A deployment below `tmp_path` whose source does not answer."""
    return Deployment(tmp_path, "http://127.0.0.1:9")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a Postgres database."""
    with postgres() as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def _instances(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where deployments keep their instances, unless a test chooses."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get(INSTANCE) == "postgres":
            patch.setenv(SERVER, request.getfixturevalue("server"))
        yield


@pytest.fixture(params=_kinds())
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test twice: with Dagster's instance in files, and in Postgres.

    In `make test-postgres` once: `make test-crash` has run the other half.
    """
    if request.param == "postgres":
        monkeypatch.setenv(SERVER, request.getfixturevalue("server"))
    else:
        monkeypatch.delenv(SERVER, raising=False)
    return request.param


@pytest.fixture
def ephemeral(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test without a database, as `make test-ephemeral` runs all tests of kills."""
    monkeypatch.setenv(INSTANCE, "ephemeral")
