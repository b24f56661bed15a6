"""The sensors: new wallets are fetched, what is new is loaded, dead runs are ended, checks are run.

They decide from the record and from Dagster's list of runs (`pace.py`), one run at a time each.
Why these are sensors and no automation conditions: `docs/automation.md`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
import msgspec

from polycopy_assets import attempts, jobs, pace, record, refetching
from polycopy_assets.assets.combined_trades import RECORD
from polycopy_assets.assets.wallet_trades import DOWN_TAG, FAILED_TAG
from polycopy_assets.errors import StoreError, WarehouseError, WrongStore
from polycopy_assets.identity import checked
from polycopy_assets.liveness import end_dead_runs
from polycopy_assets.ours import our_runs
from polycopy_assets.partitions import STRAY, register, registered, strays
from polycopy_assets.resources import StoreResource, WarehouseResource
from polycopy_assets.text import quoted
from polycopy_assets.trades.wallet import refusals
from polycopy_assets.warehouse.base import Warehouse

EVERY_SECONDS = 30
READ_EVERY_SECONDS = 3_600.0
WALLETS_A_RUN = 2_000
STORE_PATIENCE_SECONDS = 15.0
"""For which a store is asked for its id: a tick has 60 seconds."""

NAMED = 10
_HISTORY = 25

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
FOR_SENSOR = {"polycopy/started_by": "new_wallets"}
"""The tag of what `new_wallets` asks for: what others start, and stop, is no sign for it."""

_FETCHING = frozenset({"fetch", "reconcile"})
_TRADES = dg.AssetKey("trades")
_WORK = frozenset({record.WALLET_TRADES, _TRADES})


class Seen(msgspec.Struct, frozen=True):
    """What `new_wallets` remembers of `traders`: its state, when it was read, what was refused.

    Forgotten, it is read once more.
    """

    state: str = ""
    read_at: float = 0.0
    refused: int = 0
    first_refused: list[str] = []


@dg.sensor(
    jobs=[jobs.fetch],
    minimum_interval_seconds=EVERY_SECONDS,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Registers the wallets that are new in `traders`, and fetches every wallet without "
    "a record: also those that were there before; and those that failed, when their next attempt "
    "is due. One run at a time, at most 2,000 wallets each.",
)
def new_wallets(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, store: StoreResource
) -> dg.SensorResult:
    """One tick; reads `traders` only when it has changed, and once an hour."""
    seen = _remembered(context.cursor)
    unread = ""
    try:
        seen = _read_traders(context, warehouse.open("new_wallets", "sensor", patience=10.0), seen)
    except WarehouseError as error:
        # It may be loading. Whatever it is: what is registered can be fetched meanwhile.
        unread = f"; `traders` was not read: {error}"
        context.log.warning(unread.lstrip("; "))
    decision = pace.fetch(_fetch_situation(context.instance), attempts.now())
    refused = (
        f"; {seen.refused} rows of `traders` are no wallets: {', '.join(seen.first_refused)}"
        if seen.refused
        else ""
    )
    misnamed = "".join(f"; {line}" for line in refusals(strays(context.instance), STRAY))
    decision = unless_wrong_store(decision, context.instance, store)
    told = f"{decision.why}{refused}{misnamed}{unread}"
    context.log.info(told)
    cursor = msgspec.json.encode(seen).decode()
    if isinstance(decision, pace.Wait):
        return dg.SensorResult(skip_reason=told, cursor=cursor)
    config = {"select": "due", "limit": WALLETS_A_RUN}
    request = dg.RunRequest(
        run_config={"ops": {"wallet_trades": {"config": config}}}, tags=FOR_SENSOR
    )
    return dg.SensorResult(run_requests=[request], cursor=cursor)


@dg.sensor(
    jobs=[jobs.load],
    minimum_interval_seconds=EVERY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Combines and loads what the record has and the table has not: when a fetch has "
    "ended, and every 15 minutes of a long one.",
)
def new_trades(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
    """One tick; asks Dagster's database alone, and the store for its id before a load."""
    decision = pace.load(_load_situation(context.instance), attempts.now())
    return _run_if(context, unless_wrong_store(decision, context.instance, store))


@dg.sensor(
    jobs=[jobs.check],
    minimum_interval_seconds=EVERY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Runs the checks of the wallets after each fetch and load, and every hour.",
)
def checks_due(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """One tick; asks Dagster's database alone."""
    instance = context.instance
    checked = _latest(instance, "check", 1)
    # What ended while the check was at it may not be in its result.
    since = (checked[0].start_time or _moment(checked[0])) if checked else None
    decision = pace.check(
        since,
        _work_ended(instance, since) if since else None,
        _under_way(instance, "check"),
        attempts.now(),
    )
    return _run_if(context, decision)


@dg.sensor(
    jobs=[jobs.fetch],
    minimum_interval_seconds=EVERY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process is gone or that have been silent for five minutes, so "
    "that they block nothing. Dagster's run retries start them again.",
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """One tick; see `liveness.py`."""
    ended = end_dead_runs(context.instance)
    for run_id, why in ended.items():
        context.log.warning(f"run {run_id} is ended: {why}")
    return dg.SensorResult(
        skip_reason="; ".join(f"run {run_id[:8]} is ended: {why}" for run_id, why in ended.items())
        or "no run is dead"
    )


SENSORS = [new_wallets, new_trades, checks_due, dead_runs]


def unless_wrong_store(
    decision: pace.Decision, instance: dg.DagsterInstance, store: StoreResource
) -> pace.Decision:
    """`decision`; but nothing is to be started on another store than the instance's.

    A store that does not answer is left to the run: it fails, and the next waits longer.
    """
    if isinstance(decision, pace.Wait):
        return decision
    try:
        checked(instance, store.connect(patience=STORE_PATIENCE_SECONDS), keep=False)
    except WrongStore as error:
        return pace.Wait(str(error))
    except StoreError as error:
        return pace.Act(f"{decision.why}; the store does not tell its id: {error}")
    return decision


def _run_if(context: dg.SensorEvaluationContext, decision: pace.Decision) -> dg.SensorResult:
    context.log.info(decision.why)
    if isinstance(decision, pace.Act):
        return dg.SensorResult(run_requests=[dg.RunRequest()])
    return dg.SensorResult(skip_reason=decision.why)


def _remembered(cursor: str | None) -> Seen:
    """What the cursor says; nothing if it is of another version, or somebody has edited it."""
    try:
        return msgspec.json.decode(cursor, type=Seen) if cursor else Seen()
    except msgspec.DecodeError:
        return Seen()


def _read_traders(context: dg.SensorEvaluationContext, table: Warehouse, seen: Seen) -> Seen:
    """What is new in `traders` registered, if it has changed or was read long ago."""
    # Asked before the rows are read: what changes in between is read at the next tick.
    state = table.traders_state()
    now = attempts.now()
    if state == seen.state and now - seen.read_at < READ_EVERY_SECONDS:
        return seen
    new, refused = register(context.instance, table.traders())
    if new:
        context.log.info(f"{len(new)} new wallets")
    for line in refusals(refused, " in the table traders"):
        context.log.warning(line)
    return Seen(state, now, len(refused), [quoted(text) for text in refused[:NAMED]])


def _fetch_situation(instance: dg.DagsterInstance) -> pace.FetchSituation:
    complete = refetching.complete(instance)
    wallets = registered(instance)
    remaining = [wallet for wallet in wallets if wallet not in complete]
    tried = attempts.latest(instance, wallets)
    due = attempts.due_of(remaining, tried)
    given_up = sum(each.due is None for each in tried.values())
    fruitless = []
    for run in _latest(instance, "fetch", _HISTORY):
        tags = run.dagster_run.tags
        if run.dagster_run.is_success or (FAILED_TAG in tags and DOWN_TAG not in tags):
            break
        if DOWN_TAG in tags or FOR_SENSOR.items() <= tags.items():
            fruitless.append(float(tags.get(DOWN_TAG, _moment(run))))
    return pace.FetchSituation(
        due=len(due),
        waiting=len({*remaining, *tried}) - len(due) - given_up,
        given_up=given_up,
        under_way=_fetching(instance),
        fruitless=fruitless,
    )


def _load_situation(instance: dg.DagsterInstance) -> pace.LoadSituation:
    versions = record.versions(instance)
    event = instance.get_latest_materialization_event(_TRADES)
    loaded = event.asset_materialization if event else None
    state = loaded.metadata.get(RECORD) if loaded else None
    finished = _latest(instance, "load", _HISTORY)
    failures = []
    for run in finished:
        if run.dagster_run.is_success:
            break
        failures.append(_moment(run))
    fetching = _fetching(instance)
    started = instance.get_run_record_by_id(fetching) if fetching else None
    fetched = instance.get_latest_materialization_event(record.WALLET_TRADES)
    return pace.LoadSituation(
        loaded=(state.value == record.digest(versions)) if state else not versions,
        under_way=_under_way(instance, "load"),
        fetching=fetching is not None,
        since=max(
            _moment(finished[0]) if finished else 0.0, (started and started.start_time) or 0.0
        ),
        fetched=fetched.timestamp if fetched else 0.0,
        told=event.timestamp if event else 0.0,
        failures=failures,
    )


def _latest(instance: dg.DagsterInstance, job: str, limit: int) -> Sequence[dg.RunRecord]:
    """The latest runs of `job` that have ended, newest first."""
    return our_runs(instance, dg.RunsFilter(job_name=job, statuses=_ENDED), limit)


def _work_ended(instance: dg.DagsterInstance, since: float) -> float | None:
    """When a run that fetched or loaded, whoever started it, ended last behind `since`."""
    recent = our_runs(
        instance,
        dg.RunsFilter(
            statuses=[*_ENDED, dg.DagsterRunStatus.CANCELED],
            updated_after=datetime.fromtimestamp(since, UTC),
        ),
    )
    ends = [run.end_time for run in recent if run.end_time and _works(run.dagster_run)]
    return max(ends, default=None)


def _works(run: dg.DagsterRun) -> bool:
    return run.job_name in {"fetch", "load"} or bool(_WORK & (run.asset_selection or set()))


def _moment(run: dg.RunRecord) -> float:
    return run.end_time or run.update_timestamp.timestamp()


def _under_way(instance: dg.DagsterInstance, job: str) -> str | None:
    runs = our_runs(instance, dg.RunsFilter(job_name=job, statuses=UNDER_WAY))
    return runs[0].dagster_run.run_id if runs else None


def _fetching(instance: dg.DagsterInstance) -> str | None:
    """A run that fetches, or is about to."""
    for under_way in our_runs(instance, dg.RunsFilter(statuses=UNDER_WAY)):
        run = under_way.dagster_run
        chosen = run.asset_selection or ()
        if run.job_name in _FETCHING or record.WALLET_TRADES in chosen:
            return run.run_id
    return None
