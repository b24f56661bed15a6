"""The sensors: they fetch new wallets, load new trades, end dead runs, and run the checks.

They decide from the record and from Dagster's list of runs (`policy.py`), one run at a time each.
Why these are sensors and not automation conditions: `docs/automation.md`.
"""

from collections.abc import Sequence
from functools import cache

import dagster as dg
import msgspec

from polycopy_assets.assets.pages import AUTOMATION, CHECKS_PAGE, DEAD_RUNS_PAGE
from polycopy_assets.automation import jobs, policy
from polycopy_assets.automation.situation import (
    backfill_under_way,
    ended_at,
    fetch_situation,
    latest_ended,
    load_situation,
    run_under_way,
    started_by_sensor,
    work_ended,
)
from polycopy_assets.checks.shown import shown
from polycopy_assets.errors import StoreError, WarehouseError, WrongStore
from polycopy_assets.feeds.base import Feed
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.guard.dead_runs import end_dead_runs
from polycopy_assets.guard.ours import Job, fetch_sensor, job_of, load_sensor
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.partitions import IN_PARTITIONS, invalid_keys
from polycopy_assets.record.store_id import checked
from polycopy_assets.record.wanted import register_wanted
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource
from polycopy_assets.system import clock
from polycopy_assets.text import counted, first_few, first_lines, quoted
from polycopy_assets.trades.wallet import refusals
from polycopy_assets.warehouse.base import Warehouse

EVERY_SECONDS = 30
READ_EVERY_SECONDS = 3_600.0
WALLETS_A_RUN = 2_000
STORE_PATIENCE_SECONDS = 15.0
"""How long to try to read a store's id: a tick has 60 seconds."""

NAMED = 10


class Seen(msgspec.Struct, frozen=True):
    """What `new_wallets` remembers of `traders`: its state, when it was read, what was refused.

    If this is lost, `traders` is read once more.
    """

    state: str = ""
    read_at: float = 0.0
    refused: int = 0
    first_refused: list[str] = []
    rows: int = -1


@dg.sensor(
    job_name=Job.FETCH.value,
    minimum_interval_seconds=EVERY_SECONDS,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Registers new wallets of `traders`, and fetches every wallet without a record.\n\n"
    "Also those added before the sensor was on. Failed wallets are tried again when their "
    "next attempt is due. One run at a time, at most 2,000 wallets each.\n\n" + AUTOMATION,
)
def new_wallets(
    context: dg.SensorEvaluationContext, warehouse: WarehouseResource, store: StoreResource
) -> dg.SensorResult:
    """One tick; reads `traders` only when it has changed, and once an hour."""
    before = seen = _remembered(context.cursor)
    unread = ""
    try:
        table = warehouse.open("new_wallets", "sensor", patience=10.0)
        seen = _read_traders(context, table, store, seen)
    except (WarehouseError, StoreError, WrongStore) as error:
        # A load may hold the file. Registered wallets can be fetched meanwhile.
        unread = f"; `traders` was not read: {error}"
        context.log.warning(unread.lstrip("; "))
    decision = policy.fetch(fetch_situation(FeedRecord(context.instance, TRADES)), clock.now())
    left = seen.refused - len(seen.first_refused)
    named = ", ".join(first_lines(seen.first_refused, NAMED, left=left))
    refused = (
        f"; {counted(seen.refused, 'row')} of `traders` not accepted: {named}"
        if seen.refused
        else ""
    )
    misnamed = "".join(
        f"; {line}" for line in refusals(invalid_keys(context.instance), IN_PARTITIONS)
    )
    decision = unless_wrong_store(decision, context.instance, store)
    told = f"{decision.why}{refused}{misnamed}{unread}"
    context.log.info(told)
    cursor = msgspec.json.encode(seen).decode()
    events = _observed(before, seen)
    if isinstance(decision, policy.Wait):
        return dg.SensorResult(skip_reason=told, cursor=cursor, asset_events=events)
    return dg.SensorResult(run_requests=[_fetch(TRADES)], cursor=cursor, asset_events=events)


@cache
def wallets_without(feed: Feed) -> dg.SensorDefinition:
    """The sensor that fetches what `feed`, which is not the first, lacks of registered wallets."""

    @dg.sensor(
        name=fetch_sensor(feed),
        job_name=job_of(Job.FETCH, feed),
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Fetches every wallet that has no record of {feed.rows}.\n\n"
        "`new_wallets` registers them. Failed wallets are tried again when their next attempt is "
        "due. One run of all feeds at a time, at most 2,000 wallets each.\n\n" + AUTOMATION,
    )
    def sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
        """One tick; reads only Dagster's database, and before a fetch the store's id."""
        decision = policy.fetch(fetch_situation(FeedRecord(context.instance, feed)), clock.now())
        decision = unless_wrong_store(decision, context.instance, store)
        return _run_if(context, decision, _fetch(feed))

    return sensor


def _fetch(feed: Feed) -> dg.RunRequest:
    config = {"select": "due", "limit": WALLETS_A_RUN}
    return dg.RunRequest(
        run_config={"ops": {feed.assets.wallets: {"config": config}}}, tags=started_by_sensor(feed)
    )


def _observed(before: Seen, seen: Seen) -> list[dg.AssetObservation]:
    """What the tick has seen of `traders`; nothing if that has not changed."""
    if (before.rows, before.first_refused) == (seen.rows, seen.first_refused) or seen.rows < 0:
        return []
    metadata = {
        "dagster/row_count": dg.MetadataValue.int(seen.rows),
        "refused": dg.MetadataValue.int(seen.refused),
        **shown("first_refused", seen.first_refused),
    }
    return [dg.AssetObservation("traders", metadata=metadata)]


@cache
def load_what_is_new(feed: Feed) -> dg.SensorDefinition:
    """The sensor that loads what the table of `feed` lacks."""

    @dg.sensor(
        name=load_sensor(feed),
        jobs=[jobs.load(feed)],
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Combines and loads what is recorded and not in the table.\n\n"
        "When a fetch has ended, and every 15 minutes during a long one.\n\n" + AUTOMATION,
    )
    def sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
        """One tick; reads only Dagster's database, and before a load the store's id."""
        decision = policy.load(load_situation(FeedRecord(context.instance, feed)), clock.now())
        return _run_if(context, unless_wrong_store(decision, context.instance, store))

    return sensor


new_trades = load_what_is_new(TRADES)
"""The one of the first feed, by its name."""


@dg.sensor(
    job_name=Job.CHECK.value,
    minimum_interval_seconds=EVERY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Runs the checks of the wallets after each fetch and load, and every hour.\n\n"
    "Not between the runs of one backfill.\n\n" + CHECKS_PAGE,
)
def checks_due(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """One tick; reads only Dagster's database."""
    instance = context.instance
    checked = latest_ended(instance, Job.CHECK, 1)
    # Work that ended while the checks ran may not be in their result.
    since = (checked[0].start_time or ended_at(checked[0])) if checked else None
    # Between the runs of a backfill the checks would only delay it: its last run starts them.
    between = backfill_under_way(instance)
    decision = policy.check(
        since,
        work_ended(instance, since) if since and not between else None,
        run_under_way(instance, Job.CHECK),
        clock.now(),
    )
    return _run_if(context, decision)


@dg.sensor(
    job_name=Job.FETCH.value,
    minimum_interval_seconds=EVERY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Ends runs whose process has ended, so that they do not block others.\n\n"
    "Dagster's run retries start them again.\n\n" + DEAD_RUNS_PAGE,
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """One tick; see `guard/dead_runs.py`."""
    ended = end_dead_runs(context.instance)
    for run_id, why in ended.items():
        context.log.warning(f"run {run_id} was ended: {why}")
    return dg.SensorResult(
        skip_reason="; ".join(f"run {run_id[:8]} was ended: {why}" for run_id, why in ended.items())
        or "no run is dead"
    )


def sensors_of(feeds: Sequence[Feed]) -> list[dg.SensorDefinition]:
    """The sensors of `feeds`, and those that are one for all of them."""
    others = [wallets_without(feed) for feed in feeds if not feed.bare]
    return [new_wallets, *others, *map(load_what_is_new, feeds), checks_due, dead_runs]


def unless_wrong_store(
    decision: policy.Decision, instance: dg.DagsterInstance, store: StoreResource
) -> policy.Decision:
    """`decision`, or a wait if the store is not the instance's.

    If the store does not answer, the run is started: it fails, and the next run waits longer.
    """
    if isinstance(decision, policy.Wait):
        return decision
    try:
        checked(instance, store.connect(patience=STORE_PATIENCE_SECONDS), keep=False)
    except WrongStore as error:
        return policy.Wait(str(error))
    except StoreError as error:
        return policy.Act(f"{decision.why}; the store's id cannot be read: {error}")
    return decision


def _run_if(
    context: dg.SensorEvaluationContext,
    decision: policy.Decision,
    request: dg.RunRequest | None = None,
) -> dg.SensorResult:
    context.log.info(decision.why)
    if isinstance(decision, policy.Act):
        return dg.SensorResult(run_requests=[request or dg.RunRequest()])
    return dg.SensorResult(skip_reason=decision.why)


def _remembered(cursor: str | None) -> Seen:
    """What the cursor says; nothing if it is of another version, or was edited."""
    try:
        return msgspec.json.decode(cursor, type=Seen) if cursor else Seen()
    except msgspec.DecodeError:
        return Seen()


def _read_traders(
    context: dg.SensorEvaluationContext, table: Warehouse, store: StoreResource, seen: Seen
) -> Seen:
    """Registers what is new in `traders`, if it has changed or was read long ago.

    The store gets a copy; raises WrongStore if it is not the instance's.
    """
    # Read before the rows, so that the next tick sees changes in between.
    state = table.traders_state()
    now = clock.now()
    if state == seen.state and now - seen.read_at < READ_EVERY_SECONDS:
        return seen
    opened = checked(context.instance, store.connect(patience=STORE_PATIENCE_SECONDS))
    found = register_wanted(context.instance, opened, table)
    if found.restored:
        # Our own rows are a change too, which need not be read again.
        state = table.traders_state()
        context.log.warning(f"`traders` had no rows: {found.restored} were added from the store")
    if found.new:
        context.log.info(counted(len(found.new), "new wallet"))
    if found.retired:
        named = first_few(found.retired, NAMED)
        context.log.info(f"in `traders`, but removed by `polycopy wallets remove`: {named}")
    refused = found.refused
    for line in refusals(refused, " in the table traders"):
        context.log.warning(line)
    named = [quoted(text) for text in refused[:NAMED]]
    return Seen(state, now, len(refused), named, found.rows + found.restored)
