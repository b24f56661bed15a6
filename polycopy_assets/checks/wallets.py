"""Checks of the wanted wallets: which failed, which are late, where the source broke its contract.

They are checks of `traders`. As checks of `wallet_trades` they would be steps of every run that
fetches, downstream of a step without an output: skipped, or marked failed when a wallet failed.
"""

from collections.abc import Collection, Mapping
from functools import cache
from time import time
from typing import assert_never

import dagster as dg

from polycopy_assets.checks.computed import NAMED, computed
from polycopy_assets.checks.shown import of_feed, shown
from polycopy_assets.errors import Kind
from polycopy_assets.feeds.base import Feed
from polycopy_assets.guard.ours import Job, fetch_sensor, job_of
from polycopy_assets.ledger.failure import beside
from polycopy_assets.record import attempts
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.attempts import Attempt
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import COUNTED, Record
from polycopy_assets.record.partitions import registered, registered_at
from polycopy_assets.resources.embedded import PolicyResource
from polycopy_assets.text import counted

WANTED = "traders"


@cache
def no_wallet_failed(feed: Feed) -> dg.AssetChecksDefinition:
    """The check that no wallet has failed."""

    @dg.asset_check(
        asset=WANTED,
        name=feed.own("no_wallet_failed"),
        additional_deps=[asset_keys(feed).wallets],
        description=of_feed(feed, "The latest attempt of every wanted wallet succeeded."),
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Fails with the first wallets whose latest attempt failed, and why it did."""
        with computed(context) as outcome:
            record = FeedRecord(context.instance, feed)
            failed = attempts.failed(record)
            tried = attempts.latest(record, failed)
            kinds = sorted({each.kind for each in tried.values()})
            outcome.result = dg.AssetCheckResult(
                passed=not failed,
                description=(
                    f"{counted(len(failed), 'wallet')} failed, "
                    f"first {failed[0]}: {_reason(tried, failed[0])}"
                    if failed
                    else "no wallet failed"
                ),
                metadata={
                    "failed": len(failed),
                    "exhausted": sum(each.due is None for each in tried.values()),
                    **shown("first", _named(failed, tried)),
                    **_to_do([*filter(None, map(_advice, kinds)), _again(feed)], failed),
                },
            )
        return outcome.result

    return check


@cache
def no_wallet_late(feed: Feed) -> dg.AssetChecksDefinition:
    """The check that no wallet is incomplete for too long."""

    @dg.asset_check(
        asset=WANTED,
        name=feed.own("no_wallet_late"),
        additional_deps=[asset_keys(feed).wallets],
        description=of_feed(
            feed, "Every wallet is complete within POLYCOPY_LATE_HOURS of its registration."
        ),
    )
    def check(
        context: dg.AssetCheckExecutionContext, policy: PolicyResource
    ) -> dg.AssetCheckResult:
        """Fails with the first wallets that were registered long ago and are not complete."""
        with computed(context) as outcome:
            instance = context.instance
            record = FeedRecord(instance, feed)
            complete = record.versions()
            since = registered_at(instance)
            before = time() - policy.late_hours * 3600
            late = [
                wallet
                for wallet in registered(instance)
                if wallet not in complete and since.get(wallet, 0) < before
            ]
            tried = attempts.latest(record, late)
            outcome.result = dg.AssetCheckResult(
                passed=not late,
                description=(
                    f"{counted(len(late), 'wallet is', 'wallets are')} not complete after "
                    f"{counted(policy.late_hours, 'hour')}, first {late[0]}: "
                    f"{_reason(tried, late[0])}"
                    if late
                    else f"no wallet has waited longer than {counted(policy.late_hours, 'hour')}"
                ),
                metadata={
                    "late": len(late),
                    "hours": policy.late_hours,
                    **shown("first", _named(late, tried)),
                    **_to_do([_late(feed)], late),
                },
            )
        return outcome.result

    return check


@cache
def no_contract_breaks(feed: Feed) -> dg.AssetChecksDefinition:
    """The check that the source keeps its contract."""

    @dg.asset_check(
        asset=WANTED,
        name=feed.own("no_contract_breaks"),
        additional_deps=[asset_keys(feed).wallets],
        description=of_feed(
            feed,
            "The source answers as its contract promises. Warns of unknown fields and strange "
            "values.",
        ),
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        """Fails with the first wallets whose answers broke the contract; warns of what is odd."""
        with computed(context) as outcome:
            record = FeedRecord(context.instance, feed)
            failed = attempts.failed(record)
            tried = attempts.latest(record, failed)
            broken = [
                wallet
                for wallet in failed
                if wallet in tried and tried[wallet].kind is Kind.CONTRACT
            ]
            noticed = _noticed(record)
            outcome.result = dg.AssetCheckResult(
                passed=not broken and not any(noticed.values()),
                severity=dg.AssetCheckSeverity.ERROR if broken else dg.AssetCheckSeverity.WARN,
                description=(
                    f"{counted(len(broken), 'wallet')}, first {broken[0]}: "
                    f"{_reason(tried, broken[0])}"
                    if broken
                    else _warning(noticed) or "the source keeps its contract"
                ),
                metadata={
                    "broken": len(broken),
                    **shown("first", _named(broken, tried)),
                    **shown("unknown_fields", noticed["unknown_fields"]),
                    **shown("oddities", noticed["oddities"]),
                    **_to_do([_advice(Kind.CONTRACT)], [*broken, *noticed["unknown_fields"]]),
                },
            )
        return outcome.result

    return check


def _late(feed: Feed) -> str:
    return (
        f"turn the sensor `{fetch_sensor(feed)}` on, or launch the job `{job_of(Job.FETCH, feed)}`;"
        " if a fetch is under way, its run page shows its progress"
    )


def _again(feed: Feed) -> str:
    return (
        "when the cause is gone: Materialize, 'Failed'; or the job"
        f" `{job_of(Job.FETCH, feed)}` with `select: failed`"
    )


def _noticed(record: FeedRecord) -> dict[str, dict[str, str]]:
    """Strange things in the source's answers, by kind, with the first wallet for each."""
    noticed: dict[str, dict[str, str]] = {name: {} for name in COUNTED}
    for wallet, found in record.read():
        if isinstance(found, Record):
            for name, first in noticed.items():
                for each in found.counted(name):
                    first.setdefault(each, wallet)
    return noticed


def _warning(noticed: Mapping[str, Mapping[str, str]]) -> str:
    texts = {
        "unknown_fields": "fields that the contract does not list, kept in the segments",
        "oddities": "values that are possible but strange, in the table as they were served",
    }
    return "; ".join(
        f"{texts[name]}: "
        + ", ".join(f"`{each}` (first {wallet})" for each, wallet in sorted(found.items()))
        for name, found in noticed.items()
        if found
    )


def _reason(tried: Mapping[str, Attempt], wallet: str) -> str:
    return (
        beside(wallet, tried[wallet].reason)
        if wallet in tried
        else "it was not tried, hit an outage, or its run died"
    )


def _named(wallets: Collection[str], tried: Mapping[str, Attempt]) -> dg.TableMetadataValue:
    first = list(wallets)[:NAMED]
    return dg.MetadataValue.table(
        [dg.TableRecord({"wallet": wallet, "reason": _reason(tried, wallet)}) for wallet in first],
        schema=dg.TableSchema([dg.TableColumn("wallet"), dg.TableColumn("reason")]),
    )


def _advice(kind: Kind) -> str:
    """What to do about failures of that kind; empty if there is nothing."""
    match kind:
        case Kind.PERMANENT:
            return (
                "the source refuses the wallet: see the reason; if the address is wrong:"
                " `polycopy wallets remove`"
            )
        case Kind.TRANSIENT:
            return "the source did not answer properly: is it up? The wallet will be tried again"
        case Kind.CONTRACT:
            return (
                "the source broke its contract: nothing of that answer was kept;"
                " docs/troubleshooting.md, 'The source breaks its contract'"
            )
        case Kind.STORE:
            return "the store could not be written or read: see the reason; repair it"
        case Kind.INTERNAL:
            return "an unforeseen error: the run's log has the whole traceback; report it"
        case Kind.SOURCE | Kind.NOT_COMPARED:
            return ""
        case _:
            assert_never(kind)


def _to_do(texts: Collection[str], trouble: Collection[str]) -> dict[str, dg.MetadataValue]:
    return {"what_to_do": dg.MetadataValue.text("; ".join(texts))} if trouble else {}
