"""Runs of the jobs in this process, for the commands and for a reconciliation that acts."""

import os
import re
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import dagster as dg
import msgspec

from polycopy_assets import record
from polycopy_assets.assets.combined_trades import (
    BATCHES_HOLD,
    BATCHES_LEFT,
    RECORD_HAS_ITS_DATA,
    WALLETS_LEFT_OUT,
)
from polycopy_assets.combine import pending, rows_loaded
from polycopy_assets.errors import PolycopyError, WarehouseBusy
from polycopy_assets.identity import checked_table
from polycopy_assets.liveness import FOR_TAG, WORKER_TAG, worker
from polycopy_assets.load import unloaded
from polycopy_assets.manifests import Broken, read_batches
from polycopy_assets.progress import Progress
from polycopy_assets.store.base import Store
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.warehouse.base import Warehouse

_OURS = re.compile(r"^polycopy_assets\.errors\.[A-Za-z]+: ")
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Runs:
    """Runs jobs of the definitions that `build` makes; what a fetch does is counted in `progress`.

    Such runs do not go through Dagster's queue. `parent` is the run whose step starts them, if one
    does: they need not wait for a turn that it holds.
    """

    def __init__(self, build: Callable[[], dg.Definitions], progress: Progress) -> None:
        self._build = build
        self.progress = progress
        self.parent = ""

    def run(
        self,
        instance: dg.DagsterInstance,
        job: str,
        ops: Mapping[str, Mapping[str, object]] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Runs `job` to its end, with the configuration of each of its `ops`.

        Raises KeyboardInterrupt if the process was told to stop meanwhile, PolycopyError if
        somebody deleted the run, and nothing else.
        """
        config = {"ops": {name: {"config": dict(value)} for name, value in (ops or {}).items()}}
        definition = self._build().resolve_job_def(job)
        run_id = str(uuid.uuid4())
        # Said from the beginning: a process can die before the first step says it.
        tags = {WORKER_TAG: worker(run_id), **({FOR_TAG: self.parent} if self.parent else {})}
        with _told_to_stop() as told_to_stop:
            result = definition.execute_in_process(
                instance=instance,
                run_config={**_QUIET, **config},
                run_id=run_id,
                tags=tags,
                raise_on_error=False,
            )
            deleted = instance.get_run_by_id(run_id) is None
            if deleted or not result.success:
                # An interrupt may have left a step suspended that nobody closes: its turn is over.
                instance.event_log_storage.free_concurrency_slots_for_run(run_id)
            stopped = told_to_stop()
            if deleted:
                raise PolycopyError(
                    f"run {run_id} was deleted while it was at work: start it again, it goes on"
                    " where it was"
                )
            if stopped:
                raise KeyboardInterrupt
        return result

    def fetch(self, instance: dg.DagsterInstance, **config: object) -> None:
        """Fetches wallets; raises PolycopyError if something other than a wallet failed."""
        self._for_wallets(instance, "fetch", "wallet_trades", config)

    def count(self, instance: dg.DagsterInstance, **config: object) -> None:
        """Asks the source for its counts of wallets; raises PolycopyError like `fetch`."""
        self._for_wallets(instance, "witness", "source_counts", config)

    def _for_wallets(
        self, instance: dg.DagsterInstance, job: str, asset: str, config: Mapping[str, object]
    ) -> None:
        result = self.run(instance, job, {asset: config})
        if not result.success and not _only_wallets_failed(result):
            raise PolycopyError(why(result))

    def load(
        self,
        instance: dg.DagsterInstance,
        store: Store,
        warehouse: Warehouse,
        *,
        again: Collection[str] = (),
    ) -> list[str] | None:
        """Combines and loads; the checks that failed. None if the table holds all that is recorded.

        Wallets in `again` are combined once more. Raises PolycopyError if it cannot be done, or if
        something is left that no check tells of.
        """
        versions = record.versions(instance)
        if not again and not (found := _to_load(instance, store, warehouse, versions)).why():
            return _fewer_rows(warehouse, found.sound, versions)
        result = self.run(instance, "load", {"combined_trades": {"again": sorted(again)}})
        if not result.success:
            raise PolycopyError(why(result))
        checks = [
            f"{check.check_name} of {check.asset_key.to_user_string()}: {check.description}"
            for check in result.get_asset_check_evaluations()
            if not check.passed
        ]
        now = record.versions(instance)
        same = {
            wallet: version for wallet, version in versions.items() if now.get(wallet) == version
        }
        left = _to_load(instance, store, warehouse, same).why(
            left_out=_noted(result, RECORD_HAS_ITS_DATA, WALLETS_LEFT_OUT),
            stuck=_noted(result, BATCHES_HOLD, BATCHES_LEFT),
        )
        if left:
            ended = f"run {result.run_id} has ended well, and still {left}"
            raise PolycopyError("; ".join([ended, *checks]))
        return checks


class _ToLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What the table lacks of the record. `untold` is why nobody knows which batches it has."""

    sound: Sequence[Manifest]
    uncombined: Sequence[str]
    broken: Sequence[Broken]
    unloaded: Sequence[Manifest]
    untold: str

    def why(self, *, left_out: int = 0, stuck: int = 0) -> str:
        """What is lacking, in one line; empty if nothing is.

        `left_out` wallets and `stuck` broken batches are known already, and do not count.
        """
        if len(self.uncombined) > left_out:
            wallets = self.uncombined
            return f"{len(wallets)} wallets are recorded and not combined, first {wallets[0]}"
        if len(self.broken) > stuck:
            return f"{self.broken[0].name} is broken: {self.broken[0].why}"
        if self.untold:
            return f"nobody can tell what the table lacks: {self.untold}"
        return f"batch {self.unloaded[0].batch} is not in the table" if self.unloaded else ""


def _to_load(
    instance: dg.DagsterInstance, store: Store, warehouse: Warehouse, versions: Mapping[str, str]
) -> _ToLoad:
    """What the table lacks of the record that `versions` tells of."""
    batches = read_batches(store)
    missing, untold = [], ""
    try:
        table = checked_table(instance, store, warehouse)
        missing = unloaded(batches.sound, table.loaded_batches())
    except WarehouseBusy as error:
        untold = str(error)  # a run waits for it once more
    return _ToLoad(
        sound=batches.sound,
        uncombined=pending(versions, batches.sound),
        broken=batches.broken,
        unloaded=missing,
        untold=untold,
    )


def _fewer_rows(
    warehouse: Warehouse, manifests: Sequence[Manifest], versions: Mapping[str, str]
) -> list[str] | None:
    """A failed check if the table has fewer rows than were loaded into it, None if it has not.

    It may have more: those of others. Asked where nothing is to be loaded, and no check runs.
    """
    expected = rows_loaded(manifests, versions)
    if warehouse.has_rows(expected):
        return None
    return [
        (
            f"the table has {warehouse.count_rows():,} rows, and {expected:,} were loaded into it:"
            " something else has deleted rows. `polycopy reconcile --apply` loads them again"
        )
    ]


def _noted(result: dg.ExecuteInProcessResult, check: str, name: str) -> int:
    """The number that the metadata of a check have under `name`; 0 if the check did not run."""
    for evaluation in result.get_asset_check_evaluations():
        found = evaluation.metadata.get(name)
        if evaluation.check_name == check and isinstance(found, dg.IntMetadataValue):
            return found.value or 0
    return 0


@contextmanager
def _told_to_stop() -> Iterator[Callable[[], bool]]:
    """Tells whether SIGINT or SIGTERM has come since.

    To Dagster an interrupted step is one that failed, and an interrupt after the last step is none.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread alone
        return
    heard, noted = socket.socketpair()
    with heard, noted:
        heard.settimeout(0)
        noted.settimeout(0)
        outer = signal.set_wakeup_fd(noted.fileno(), warn_on_full_buffer=False)

        def told() -> bool:
            try:
                signals = heard.recv(4096)
            except BlockingIOError:
                return False
            if outer >= 0:
                os.write(outer, signals)  # who waits for the run that started this one
            return signal.SIGINT in signals or signal.SIGTERM in signals

        try:
            yield told
        finally:
            signal.set_wakeup_fd(outer)


def _only_wallets_failed(result: dg.ExecuteInProcessResult) -> bool:
    """Whether the run went on to its end, and then said which wallets had failed."""
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return bool(failures) and all(failure.user_failure_data for failure in failures)


def why(result: dg.ExecuteInProcessResult) -> str:
    """The errors of the steps that failed, each with the cause behind it."""
    reasons = []
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error:
            error = event.step_failure_data.error
            while error.cause and not _OURS.match(error.message):
                error = error.cause
            reasons.append(_OURS.sub("", error.message.strip()))
    return "; ".join(reasons) or f"run {result.run_id} failed"
