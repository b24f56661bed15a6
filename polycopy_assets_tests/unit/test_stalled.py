"""When a run counts as stuck: while it fetches, and nothing of the fetch moves."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard import heartbeat
from polycopy_assets.guard.lock import Lock


class Held:
    """A lock that is held."""

    def check(self) -> None:
        """It is."""

    def release(self) -> None:
        """Nothing is to be done."""


def beat(progress: Progress | None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The heartbeat of a run in which any time without a movement is too long."""
    monkeypatch.setattr(heartbeat, "STALLED_SECONDS", -1.0)
    context = SimpleNamespace(
        instance=None, run=SimpleNamespace(run_id="1"), log=logging.getLogger("run")
    )
    pulse = heartbeat.Pulse(cast("Lock", Held()), lambda: False)
    return heartbeat._Beat(cast("Any", context), progress, pulse)


def test_a_fetch_in_which_nothing_moves_is_stuck(monkeypatch: pytest.MonkeyPatch):
    progress = Progress()
    progress.begin_fetch(3)
    watched = beat(progress, monkeypatch)
    assert watched._stalled() == "", "it has just begun"
    assert "no progress for" in watched._stalled()
    progress.request()
    assert watched._stalled() == ""


@pytest.mark.parametrize("step", ["", "combining", "loading"])
def test_a_load_may_take_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch, step: str):
    progress = Progress()
    progress.begin_fetch(3)
    progress.fetching = False
    progress.begin(step)
    watched = beat(progress, monkeypatch)
    assert [watched._stalled() for _ in range(3)] == ["", "", ""]


def test_a_run_without_progress_is_never_stuck(monkeypatch: pytest.MonkeyPatch):
    watched = beat(None, monkeypatch)
    assert [watched._stalled() for _ in range(3)] == ["", "", ""]
