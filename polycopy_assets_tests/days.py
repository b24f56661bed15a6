"""The sensors in simulated time: one deployment, whose runs are executed in this process."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import stamina
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
)

from polycopy_assets.automation.schedules import daily_refresh
from polycopy_assets.automation.sensors import new_trades, new_wallets
from polycopy_assets.definitions import build
from polycopy_assets.demo.server import Served
from polycopy_assets.resources.chosen import open_warehouse, store_resource, warehouse_resource
from polycopy_assets.system import clock
from polycopy_assets_tests.deployment import Deployment

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


def ticked(
    sensor: dg.SensorDefinition,
    instance: dg.DagsterInstance,
    deployment: Deployment,
    cursor: str | None = None,
) -> dg.SensorResult:
    """What one tick of a sensor comes to."""
    needs = sensor.required_resource_keys
    every = {
        "warehouse": warehouse_resource(deployment.settings),
        "store": store_resource(deployment.settings),
    }
    resources = {name: every[name] for name in needs}
    with dg.build_sensor_context(instance, cursor=cursor, resources=resources) as context:
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def refresh_asked(
    instance: dg.DagsterInstance, deployment: Deployment
) -> dg.RunRequest | dg.SkipReason:
    """What the schedule `daily_refresh` asks for."""
    store = {"store": store_resource(deployment.settings)}
    with dg.build_schedule_context(instance, resources=store) as context:
        asked = daily_refresh(context)
    assert isinstance(asked, dg.RunRequest | dg.SkipReason)
    return asked


def skipped(result: dg.SensorResult) -> str:
    """Why nothing was started."""
    reason = result.skip_reason
    return (reason if isinstance(reason, str) else reason.skip_message or "") if reason else ""


def switch(instance: dg.DagsterInstance, status: InstigatorStatus) -> None:
    """Switches `daily_refresh` on or off, as the page of Dagster's UI does."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ours"), "__repository__")
    origin = RemoteInstigatorOrigin(repository, "daily_refresh")
    state = InstigatorState(
        origin, InstigatorType.SCHEDULE, status, ScheduleInstigatorData("0 3 * * *")
    )
    if instance.get_instigator_state(state.instigator_origin_id, state.selector_id):
        instance.update_instigator_state(state)
    else:
        instance.add_instigator_state(state)


class Days:
    """A deployment whose sensors tick in simulated time; the runs they ask for are executed."""

    def __init__(
        self, deployment: Deployment, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.deployment = deployment
        self.instance = instance
        self.now = time.time()
        self.cursor: str | None = None
        self.runs: Counter[str] = Counter()
        self.told: list[str] = []
        self._definitions = build(deployment.settings)
        monkeypatch.setattr(clock, "now", lambda: self.now)

    def want(self, wallets: list[str]) -> None:
        """Puts wallets into `traders`, as people do: nobody registers them."""
        open_warehouse(self.deployment.settings, "traders").add_traders(wallets)

    def tick(self) -> None:
        """One tick of the sensors, and the runs that they asked for."""
        result = ticked(new_wallets, self.instance, self.deployment, self.cursor)
        self.cursor = result.cursor
        self.follow("fetch", result)
        self.follow("load", ticked(new_trades, self.instance, self.deployment))

    def go_on(self, seconds: float, every: float = 10 * MINUTE) -> None:
        """Ticks until so much simulated time has passed."""
        end = self.now + seconds
        while self.now < end:
            self.now += every
            self.tick()

    def follow(self, job: str, result: dg.SensorResult) -> None:
        self.told.append(skipped(result))
        for request in result.run_requests or ():
            self.runs[job] += 1
            self._definitions.resolve_job_def(job).execute_in_process(
                instance=self.instance,
                run_config=request.run_config,
                tags=dict(request.tags),
                raise_on_error=False,
            )


@contextmanager
def days(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> Iterator[Days]:
    # A run waits until the window of the requests before it is over: here not for a second.
    quick = {"POLYCOPY_RATE_LIMIT": "100000/0.05", **settings}
    deployment = Deployment(tmp_path, served.url, **quick)
    with deployment.instance() as instance, stamina.set_testing(True, attempts=2):
        # While it is off, an idle table is materialized each twelve hours of the simulated time.
        switch(instance, InstigatorStatus.RUNNING)
        yield Days(deployment, instance, monkeypatch)
