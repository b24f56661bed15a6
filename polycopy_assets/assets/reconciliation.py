"""`reconciliation`: record, store, checkpoint and table compared, wallet by wallet."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Literal

import dagster as dg
from pydantic import Field

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.charts import CHARTED_WALLETS, reconciliation_chart
from polycopy_assets.assets.pages import RECONCILIATION_PAGE
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.assets.step_engine import StepEngine
from polycopy_assets.checks.ledgers_agree import CHECK, agreement, in_order
from polycopy_assets.checks.shown import shown
from polycopy_assets.checks.source_agrees import difference_table
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.heartbeat import heartbeat
from polycopy_assets.guard.working import Permit, working
from polycopy_assets.ledger.failure import beside
from polycopy_assets.ledger.kinds import Adopt, FindingKind
from polycopy_assets.ledger.source_counts import Witnessed
from polycopy_assets.reconcile.reconcile import reconcile
from polycopy_assets.reconcile.report import ReconcileReport
from polycopy_assets.record import overview
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.store_id import checked
from polycopy_assets.resources.embedded import (
    PolicyResource,
    SourceResource,
    StoreResource,
    WarehouseResource,
)
from polycopy_assets.settings import AdoptWord
from polycopy_assets.sources.open import check_can_count
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import NAME, counted, one_line
from polycopy_assets.warehouse.feed_table import cost_metadata

NAMED = 5
_SETTING = "setting"
_REPORT = dg.PythonObjectDagsterType(ReconcileReport)
"""One for the reconciliations of all feeds: a second one of the same name is refused."""


class ReconcileConfig(dg.Config):
    """How to reconcile; by default, a dry run."""

    apply: bool = Field(
        default=False, description="Act on the findings. Without it nothing is changed."
    )
    verify: bool = Field(
        default=False, description="Read every recorded segment and compare its checksum. Slow."
    )
    source: bool = Field(
        default=False,
        description="Also compare with the source's own count of each wallet's trades, one request "
        "per wallet. With `apply`, wallets that differ are fetched again in full.",
    )
    adopt: Literal["setting", AdoptWord] = Field(
        default=_SETTING,
        description="What to do with an older job's files. `verified`: take over those whose "
        "evidence holds. `never`: do not read them. `refetch`: take them over, and then replace "
        "them from the source. `setting`: the value of POLYCOPY_ADOPT.",
    )


@cache
def reconciliation(feed: Feed) -> dg.AssetsDefinition:
    """The reconciliation of `feed`, as an asset."""
    keys, name = asset_keys(feed), feed.own("reconciliation")
    checkpoint = ", checkpoint" if feed.bare else ""

    @dg.asset(
        key=name,
        deps=[keys.wallets, keys.table, *(["backfill_checkpoint"] if feed.bare else []), "traders"],
        # Its fetches share the request budget.
        pool=SOURCE,
        io_manager_key="report",
        dagster_type=_REPORT,
        group_name=feed.name,
        kinds={"table"},
        owners=OWNERS,
        tags=TAGS,
        description=f"Compares record, store{checkpoint} and table, and says what to do.\n\n"
        "Wallet by wallet. Materializing it changes nothing unless `apply` is set.\n\n"
        + RECONCILIATION_PAGE,
        metadata={
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn("wallet", "string", "every wallet that any ledger knows"),
                    dg.TableColumn("finding", "string", "the worst problem, or that there is none"),
                    dg.TableColumn("action", "string", "what `apply` does about it"),
                    dg.TableColumn("why", "string", "the evidence"),
                ]
            )
        },
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=name,
                description="No wallet has a finding that asks for action.",
            )
        ],
    )
    def compared(  # noqa: PLR0917 - Dagster passes resources by name
        context: dg.AssetExecutionContext,
        config: ReconcileConfig,
        store: StoreResource,
        warehouse: WarehouseResource,
        policy: PolicyResource,
        source: SourceResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:
        """Compares, acts if asked to, and shows the findings; its value is the report."""
        # A run that acts must not rely on facts that another run has changed since they were read.
        locked = config.apply or config.source
        with failing_plainly(context):
            if config.source:
                check_can_count(source.kind, feed)
        with failing_plainly(context), _working(context, progress, locked=locked) as permit:
            opened = checked(context.instance, store.connect(), keep=config.apply)
            objects = FeedStore(opened, feed)
            run_id = context.run.run_id
            table = warehouse.open_for(context.instance, objects, name, run_id, keep=config.apply)
            report = reconcile(
                context.instance,
                objects,
                table,
                StepEngine(
                    context,
                    source,
                    objects,
                    lambda asset: warehouse.open(asset, run_id),
                    progress,
                    permit,
                    warehouse.memory,
                ),
                adopt=Adopt(policy.adopt if config.adopt == _SETTING else config.adopt),
                verify=config.verify,
                apply=config.apply,
                say=context.log.info,
                source=config.source,
            )
            if report.applied:
                overview.write(FeedRecord(context.instance, feed))
        for failure in report.failures:
            context.log.error(f"{failure.wallet}: {beside(failure.wallet, failure.reason)}")
        _say_what_was_done(context, report)
        return dg.MaterializeResult(
            value=report,
            metadata={
                "dagster/row_count": len(report.findings),
                **_chart(report),
                "findings": _table(report),
                "counts": dg.MetadataValue.json(_words(report.counts)),
                "applied": report.applied,
                "left": dg.MetadataValue.json(_words(report.left)),
                **shown(
                    "failures", [[item.wallet, item.reason] for item in report.failures[:NAMED]]
                ),
                "refused": len(report.refused),
                **shown(
                    "first_refused",
                    [[item.ledger, one_line(item.text, NAME)] for item in report.refused[:NAMED]],
                ),
                "seconds": report.seconds,
                **_source(report.source),
                **cost_metadata(table.cost),
            },
            check_results=[agreement(report)],
        )

    return compared


def _say_what_was_done(context: dg.AssetExecutionContext, report: ReconcileReport) -> None:
    """Says for each finding how many wallets had it, what was done about it, and what is left."""
    if not report.applied:
        return
    trouble = {kind: n for kind, n in report.counts.items() if not kind.settled}
    for kind, wallets in trouble.items():
        context.log.info(
            f"{kind.value}: {counted(wallets, 'wallet')}, action: {kind.action.value};"
            f" {report.left.get(kind, 0):,} left"
        )
    if not trouble:
        context.log.info(f"{in_order(report)}: there was nothing to do")


def _chart(report: ReconcileReport) -> dict[str, dg.MetadataValue]:
    if len(report.findings) < CHARTED_WALLETS:
        return {}
    return {"chart": dg.MetadataValue.md(reconciliation_chart(report.counts, report.covered))}


@contextmanager
def _working(
    context: dg.AssetExecutionContext, progress: Progress, *, locked: bool
) -> Iterator[Permit]:
    if locked:
        with working(context, SOURCE, progress) as permit:
            yield permit
    else:
        with heartbeat(context, progress) as pulse:
            yield Permit(pulse.check, 0.0)


def _source(found: Witnessed | None) -> dict[str, dg.MetadataValue]:
    """The result of comparing with the source's own counts; empty if that was not asked for."""
    if found is None:
        return {}
    return {
        "source_agrees": dg.MetadataValue.int(found.agree),
        "source_differs": dg.MetadataValue.int(len(found.disagree)),
        **shown("first_that_differ", difference_table(found.disagree[:NAMED])),
        **shown("source_failed", [[item.wallet, item.reason] for item in found.failed[:NAMED]]),
        "source_not_asked": dg.MetadataValue.int(found.not_asked),
        "source_not_compared": dg.MetadataValue.int(found.not_compared),
        **shown("refetched", list(found.refetched[:NAMED])),
    }


def _words(counts: Mapping[FindingKind, int]) -> dict[str, int]:
    return {kind.value: wallets for kind, wallets in counts.items()}


def _table(report: ReconcileReport) -> dg.MetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "finding": kind.value,
                    "wallets": wallets,
                    "action": kind.action.value,
                    "left": report.left.get(kind, 0),
                    "first": next(x.wallet for x in report.findings if x.finding is kind),
                }
            )
            for kind, wallets in report.counts.items()
        ],
        schema=dg.TableSchema(
            columns=[
                dg.TableColumn("finding", "string"),
                dg.TableColumn("wallets", "int"),
                dg.TableColumn("action", "string"),
                dg.TableColumn("left", "int", "after the action, if it was taken"),
                dg.TableColumn("first", "string", "the first wallet"),
            ]
        ),
    )
