"""The wallets of a component's YAML become wanted: a job, and a sensor that starts it.

Dagster has no place to act when definitions load. So a run registers them, where its log says what
it did, and the sensor starts that run when a wallet of the YAML is no partition yet.
"""

import os
from collections.abc import Collection
from hashlib import sha256

import dagster as dg

from polycopy_assets.errors import ConfigurationError, PolycopyError
from polycopy_assets.record.partitions import registered
from polycopy_assets.record.private.database import postgres_url
from polycopy_assets.record.wanted import want
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.system import clock
from polycopy_assets.text import counted, first_few

JOB = "register_wallets"
EVERY_SECONDS = 60
_HOUR = 3_600
_NAMED = 10


def registration(wallets: Collection[str]) -> dg.JobDefinition:
    """The job that adds `wallets` to `traders`, to the store's list and to the partitions."""

    @dg.op(name="add_wallets")
    def add_wallets(
        context: dg.OpExecutionContext, store: StoreResource, warehouse: WarehouseResource
    ) -> None:
        try:
            _refuse_temporary(context.instance)
            objects = store.open(context.instance)
            table = warehouse.open_for(context.instance, objects, JOB, context.run_id)
            added = want(context.instance, objects, table, wallets, removed=False)
            removed = read_wanted(objects).retired.keys() & set(wallets)
        except PolycopyError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        context.log.info(
            f"{counted(len(wallets), 'wallet')} in YAML, {added:,} of them new in `traders`"
        )
        if removed:
            context.log.warning(_removed(sorted(removed)))

    @dg.job(
        name=JOB,
        description="Adds the wallets of the component's YAML to `traders`, so that they are"
        " collected. A wallet that is no longer in the YAML stays: `polycopy wallets remove`.",
        executor_def=dg.in_process_executor,
        metadata={"wallets": len(wallets)},
    )
    def job() -> None:
        add_wallets()

    return job


def in_yaml(job: dg.JobDefinition, wallets: Collection[str]) -> dg.SensorDefinition:
    """The sensor that starts `job` when a wallet of the YAML is not registered."""

    @dg.sensor(
        name="wallets_in_yaml",
        job=job,
        minimum_interval_seconds=EVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Registers new wallets of the component's YAML. It fetches nothing: that is"
        " what `new_wallets` does, if it is on.",
    )
    def wallets_in_yaml(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.RunRequest | dg.SkipReason:
        missing = sorted(set(wallets) - set(registered(context.instance)))
        if not missing:
            return dg.SkipReason("all wallets of the YAML are registered")
        try:
            removed = read_wanted(store.connect(patience=15.0)).retired
        except PolycopyError as error:
            return dg.SkipReason(f"the store's list of wallets cannot be read: {error}")
        new = [wallet for wallet in missing if wallet not in removed]
        if not new:
            return dg.SkipReason(_removed(missing))
        # A run that failed is started again, once an hour.
        named = sha256("".join(new).encode()).hexdigest()[:16]
        return dg.RunRequest(run_key=f"{named}-{int(clock.now()) // _HOUR}")

    return wallets_in_yaml


def _removed(wallets: Collection[str]) -> str:
    return (
        f"in the YAML, but removed by `polycopy wallets remove`: {first_few(wallets, _NAMED)}"
        " (to collect them again: `polycopy wallets add`)"
    )


def _refuse_temporary(instance: dg.DagsterInstance) -> None:
    """Raises ConfigurationError if nothing would keep the record."""
    if postgres_url(instance) is None and not os.environ.get("DAGSTER_HOME"):
        raise ConfigurationError(
            "DAGSTER_HOME is not set: Dagster would keep the record in a temporary directory, and"
            " lose it. Set it for every process of the project"
        )
