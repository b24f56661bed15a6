"""Which wallets a run of `source_counts` compares, in which order."""

import time
from collections.abc import Mapping
from typing import Literal, NamedTuple

import dagster as dg
from pydantic import Field

from polycopy_assets import counts, record
from polycopy_assets.assets.fetch_plan import has_partitions
from polycopy_assets.errors import PolycopyError
from polycopy_assets.fetch.wallets import Failed
from polycopy_assets.ledger.facts import Tally
from polycopy_assets.ledger.witness import Complete, Ours, ours
from polycopy_assets.partitions import registered, told_apart
from polycopy_assets.warehouse.base import Warehouse

SAMPLE = 200
NOT_COMPARED = "not_compared"
"""The kind of a wallet that was not asked for because there is nothing to compare."""

_NAMED = 20
_NOT_COMPLETE = "it is not complete: fetch it first"


class CountConfig(dg.Config):
    """Which wallets to compare: those of the chosen partitions, or, in a run without any, these."""

    select: Literal["sample", "due"] = Field(
        default="sample",
        description="In a run without partitions. `sample`: some complete wallets, least recently "
        "asked for first. `due`: all but those that were compared within the last 20 hours and "
        "have the same data since.",
    )
    sample: int = Field(default=SAMPLE, ge=1, description="Wallets in a sample.")
    wallets: list[str] = Field(
        default=[],
        description="Only these, in a run without partitions; they have to be partitions.",
    )
    refetched: bool = Field(
        default=False,
        description="These wallets have just been fetched in full. What still differs is noted, so "
        "that they are not fetched in full at every reconciliation.",
    )


class CountPlan(NamedTuple):
    """The wallets to compare, least recently asked for first.

    `by_name` tells whether they were named: then one that cannot be compared is a failure. With
    `noted` the record keeps which could not be compared, so that a sample moves on past them.
    """

    wallets: list[str]
    by_name: bool
    noted: bool


def plan_counts(context: dg.AssetExecutionContext, config: CountConfig) -> CountPlan:
    """What the run is to compare; raises PolycopyError if it is told what makes no sense."""
    instance = context.instance
    if has_partitions(context) or config.wallets:
        return CountPlan(_named(context, config), by_name=True, noted=True)
    known, complete = registered(instance), record.versions(instance)
    wallets = counts.longest_ago_first(instance, [w for w in known if w in complete])
    if config.select == "due":
        return CountPlan(_due(instance, wallets, complete), by_name=False, noted=False)
    return CountPlan(wallets[: config.sample], by_name=False, noted=True)


def in_the_table(
    instance: dg.DagsterInstance, wallets: list[str], warehouse: Warehouse
) -> tuple[list[Ours], list[Failed]]:
    """What the table holds of `wallets`, in their order; and those that cannot be compared, why.

    Two queries, however many wallets: until the coverage of each ends, which tells whether the
    table holds what is recorded, and until the last whole day in it ends.
    """
    complete, problems = _complete(instance, wallets)
    whole = _tally(warehouse, {item.wallet: item.covered_until for item in complete})
    days = _tally(warehouse, {item.wallet: item.until for item in complete})
    found: list[Ours] = []
    for item in complete:
        said = ours(item, whole.get(item.wallet, Tally()), days.get(item.wallet, Tally()))
        if isinstance(said, Ours):
            found.append(said)
        else:
            problems[item.wallet] = said
    return found, [
        Failed(wallet=wallet, reason=problems[wallet], kind=NOT_COMPARED, tried=False)
        for wallet in wallets
        if wallet in problems
    ]


def _complete(
    instance: dg.DagsterInstance, wallets: list[str]
) -> tuple[list[Complete], dict[str, str]]:
    """Those of `wallets` that have a legible record, in their order; and why others have none."""
    complete: dict[str, Complete] = {}
    problems = dict.fromkeys(wallets, _NOT_COMPLETE)
    for wallet, item in record.ledger(instance, wallets):
        if isinstance(item, record.Record):
            complete[wallet] = Complete(
                wallet=wallet,
                version=item.version,
                rows=sum(segment.rows for segment in item.segments),
                covered_until=item.covered_until,
            )
            del problems[wallet]
        else:
            problems[wallet] = str(item)
    return [complete[wallet] for wallet in wallets if wallet in complete], problems


def _tally(warehouse: Warehouse, claims: Mapping[str, int]) -> dict[str, Tally]:
    if not claims:
        return {}
    return {wallet: tally for wallet, tally in warehouse.tally(claims) if wallet is not None}


def _named(context: dg.AssetExecutionContext, config: CountConfig) -> list[str]:
    """The wallets of the partitions or of the configuration."""
    if has_partitions(context):
        if config.wallets:
            raise PolycopyError("`wallets` is for a run without partitions")
        return told_apart(context.partition_keys)[0]
    known = set(registered(context.instance))
    if unknown := sorted({*config.wallets} - known):
        raise PolycopyError(f"no partitions: {', '.join(unknown[:_NAMED])}")
    return list(dict.fromkeys(config.wallets))


def _due(
    instance: dg.DagsterInstance, wallets: list[str], versions: Mapping[str, str]
) -> list[str]:
    """Those of `wallets` whose latest count does not hold any more, or could not be had."""
    now = int(time.time())
    latest, failed = counts.latest(instance), counts.failed(instance)
    return [
        wallet
        for wallet in wallets
        if wallet in failed
        or wallet not in latest
        or not latest[wallet].holds(versions[wallet], now)
    ]
