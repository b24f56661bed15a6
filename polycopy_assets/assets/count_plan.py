"""Which wallets a run that compares the source's counts of a feed compares, in which order."""

import time
from collections.abc import Mapping
from typing import Literal, NamedTuple

import dagster as dg
from pydantic import Field

from polycopy_assets.assets.fetch_plan import has_partitions
from polycopy_assets.errors import Kind, PolycopyError
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.blame import Failed
from polycopy_assets.ledger.facts import Tally
from polycopy_assets.ledger.source_counts import Complete, Ours, ours
from polycopy_assets.record import counts
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.record.partitions import registered, wallets_and_others
from polycopy_assets.store.coverage import Coverage, read_coverage
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import first_few
from polycopy_assets.trades.coverage import extended
from polycopy_assets.warehouse.feed_table import FeedTable

SAMPLE = 200
_NAMED = 20
_NOT_COMPLETE = "it is not complete: fetch it first"


class CountConfig(dg.Config):
    """Which wallets to compare in a run without partitions; otherwise the chosen partitions."""

    select: Literal["sample", "due"] = Field(
        default="sample",
        description="For a run without partitions. `sample`: some complete wallets, least recently "
        "compared first. `due`: all complete wallets, except those that were compared within the "
        "last 20 hours and have not changed since.",
    )
    sample: int = Field(default=SAMPLE, ge=1, description="The number of wallets in a sample.")
    wallets: list[str] = Field(
        default=[],
        description="Only these wallets, in a run without partitions. They must be partitions.",
    )
    refetched: bool = Field(
        default=False,
        description="Set this if the wallets have just been fetched in full. A remaining "
        "difference is then recorded, so that reconciliations do not fetch them in full again.",
    )


class CountPlan(NamedTuple):
    """The wallets to compare, least recently requested first.

    `by_name` says whether the run named them: then a wallet that cannot be compared is a failure.
    With `noted`, the record keeps which could not be compared, so that samples move on to others.
    """

    wallets: list[str]
    by_name: bool
    noted: bool


def plan_counts(context: dg.AssetExecutionContext, feed: Feed, config: CountConfig) -> CountPlan:
    """What the run is to compare of `feed`.

    Raises PolycopyError if the configuration makes no sense.
    """
    record = FeedRecord(context.instance, feed)
    if has_partitions(context) or config.wallets:
        return CountPlan(_named(context, config), by_name=True, noted=True)
    if config.select == "due":
        return CountPlan(due_counts(record), by_name=False, noted=False)
    return CountPlan(_least_recent(record)[: config.sample], by_name=False, noted=True)


def due_counts(record: FeedRecord) -> list[str]:
    """The complete wallets whose latest count is no longer valid, is missing, or failed."""
    now, versions = int(time.time()), record.versions()
    latest, failed = counts.latest(record), counts.failed(record)
    return [
        wallet
        for wallet in _least_recent(record)
        if wallet in failed
        or wallet not in latest
        or not latest[wallet].holds(versions[wallet], now)
    ]


def _least_recent(record: FeedRecord) -> list[str]:
    """The complete wallets, least recently requested first."""
    known, complete = registered(record.instance), record.versions()
    return counts.longest_ago_first(record, [w for w in known if w in complete])


def in_the_table(
    instance: dg.DagsterInstance, wallets: list[str], store: FeedStore, table: FeedTable
) -> tuple[list[Ours], list[Failed]]:
    """What the table holds of `wallets`, in their order; and why others cannot be compared.

    Two queries, however many wallets: until each wallet's coverage ends, which shows whether the
    table holds what is recorded, and until the last whole day in the coverage ends.
    """
    complete, problems = _complete(FeedRecord(instance, store.feed), wallets, read_coverage(store))
    whole = _tally(table, {item.wallet: item.covered_until for item in complete})
    days = _tally(table, {item.wallet: item.until for item in complete})
    found: list[Ours] = []
    for item in complete:
        said = ours(item, whole.get(item.wallet, Tally()), days.get(item.wallet, Tally()))
        if isinstance(said, Ours):
            found.append(said)
        else:
            problems[item.wallet] = said
    return found, [
        Failed(wallet=wallet, reason=problems[wallet], kind=Kind.NOT_COMPARED, tried=False)
        for wallet in wallets
        if wallet in problems
    ]


def _complete(
    record: FeedRecord, wallets: list[str], stated: Coverage
) -> tuple[list[Complete], dict[str, str]]:
    """Those of `wallets` that have a readable record, in their order; and why others have none.

    `stated` is the time without trades that coverage objects state.
    """
    complete: dict[str, Complete] = {}
    problems = dict.fromkeys(wallets, _NOT_COMPLETE)
    for wallet, item in record.read(record.versions(wallets)):
        if isinstance(item, Record):
            complete[wallet] = Complete(
                wallet=wallet,
                version=item.version,
                rows=sum(segment.rows for segment in item.segments),
                covered_until=extended(item.covered_until, stated.of(wallet)),
            )
            del problems[wallet]
        else:
            problems[wallet] = str(item)
    return [complete[wallet] for wallet in wallets if wallet in complete], problems


def _tally(table: FeedTable, claims: Mapping[str, int]) -> dict[str, Tally]:
    if not claims:
        return {}
    return {wallet: tally for wallet, tally in table.tally(claims) if wallet is not None}


def _named(context: dg.AssetExecutionContext, config: CountConfig) -> list[str]:
    """The wallets of the partitions or of the configuration."""
    if has_partitions(context):
        if config.wallets:
            raise PolycopyError("`wallets` is for a run without partitions")
        return wallets_and_others(context.partition_keys)[0]
    known = set(registered(context.instance))
    if unknown := sorted({*config.wallets} - known):
        raise PolycopyError(f"no partitions: {first_few(unknown, _NAMED)}")
    return list(dict.fromkeys(config.wallets))
