"""`reconciliation`: record, store, checkpoint and table compared, wallet by wallet."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

import dagster as dg
from pydantic import Field

from polycopy_assets.assets import OWNERS
from polycopy_assets.assets.cost import cost_metadata
from polycopy_assets.charts import reconciliation_chart
from polycopy_assets.checks.source_agrees import difference_table
from polycopy_assets.identity import checked, checked_table
from polycopy_assets.ledger.findings import KINDS, SETTLED
from polycopy_assets.ledger.witness import Witnessed
from polycopy_assets.liveness import alive
from polycopy_assets.reconcile.report import Report, reconcile
from polycopy_assets.record import WALLET_TRADES
from polycopy_assets.resources import (
    PolicyResource,
    SourceResource,
    StoreResource,
    WarehouseResource,
)
from polycopy_assets.runs import Runs
from polycopy_assets.sources.open import check_can_count
from polycopy_assets.text import NAME, one_line
from polycopy_assets.turns import SOURCE, turn

NAMED = 5
CHECK = "ledgers_agree"


Adopt = Literal["setting", "verified", "never", "refetch"]


class ReconcileConfig(dg.Config):
    """How to reconcile; as it stands, a dry run."""

    apply: bool = Field(default=False, description="Act on what is found. Otherwise only look.")
    verify: bool = Field(
        default=False, description="Read every recorded segment again and check its sum. Slow."
    )
    source: bool = Field(
        default=False,
        description="Ask the source as well how many trades of each wallet it counts, one request "
        "a wallet. With `apply`, wallets that differ are fetched again in full.",
    )
    adopt: Adopt = Field(
        default="setting",
        description="What an old job's files are worth: `verified`: those that are borne out are "
        "taken over. `never`. `refetch`: taken over until they are fetched from the source. "
        "`setting`: as POLYCOPY_ADOPT says.",
    )


@dg.asset(
    deps=[WALLET_TRADES, "trades", "backfill_checkpoint", "traders"],
    # What it fetches counts against the same budget.
    pool=SOURCE,
    group_name="trades",
    kinds={"table"},
    owners=OWNERS,
    description="What record, store, the old job's checkpoint and the table say of each wallet, "
    "and what to do about it. Materializing it changes nothing unless `apply` is set.",
    metadata={
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn("wallet", "string", "every wallet that any ledger knows"),
                dg.TableColumn("finding", "string", "what the ledgers come to; exactly one"),
                dg.TableColumn("action", "string", "what `apply` does about it"),
                dg.TableColumn("why", "string", "the evidence"),
            ]
        )
    },
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset="reconciliation",
            description="No wallet has a finding that asks for action.",
        )
    ],
)
def reconciliation(  # noqa: PLR0917 - Dagster passes resources by name
    context: dg.AssetExecutionContext,
    config: ReconcileConfig,
    store: StoreResource,
    warehouse: WarehouseResource,
    policy: PolicyResource,
    source: SourceResource,
    runs: dg.ResourceParam[Runs],
    on_report: dg.ResourceParam[Callable[[Report], None]],
) -> dg.MaterializeResult:
    """Compares, acts if it is asked to, and shows what there is."""
    objects = checked(context.instance, store.connect(), keep=config.apply)
    if config.source:
        check_can_count(source.kind)
    table = warehouse.open("reconciliation", context.run.run_id)
    runs.parent = context.run.run_id
    # What acts must not act on what another run has changed since it was looked at.
    takes_turn = config.apply or config.source
    alone = turn(context, SOURCE, runs.progress) if takes_turn else nullcontext()
    with alive(context), alone:
        checked_table(context.instance, objects, table, keep=config.apply)
        report = reconcile(
            context.instance,
            objects,
            table,
            runs,
            adopt=policy.adopt if config.adopt == "setting" else config.adopt,
            verify=config.verify,
            apply=config.apply,
            say=context.log.info,
            source=config.source,
        )
    on_report(report)
    for failure in report.failures:
        context.log.error(f"{failure.wallet}: {failure.reason}")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(report.findings),
            "chart": dg.MetadataValue.md(reconciliation_chart(report.counts, report.covered)),
            "findings": _table(report),
            "counts": dg.MetadataValue.json(dict(report.counts)),
            "applied": report.applied,
            "left": dg.MetadataValue.json(dict(report.left)),
            "failures": dg.MetadataValue.json(
                [[item.wallet, item.reason] for item in report.failures[:NAMED]]
            ),
            "refused": len(report.refused),
            "first_refused": dg.MetadataValue.json(
                [[item.ledger, one_line(item.text, NAME)] for item in report.refused[:NAMED]]
            ),
            "seconds": report.seconds,
            **_source(report.source),
            **cost_metadata(table.cost),
        },
        check_results=[_check(report)],
    )


def _source(found: Witnessed | None) -> dict[str, dg.MetadataValue]:
    """What comparing with the source's own counts came to; nothing if that was not asked for."""
    if found is None:
        return {}
    return {
        "source_agrees": dg.MetadataValue.int(found.agree),
        "source_differs": dg.MetadataValue.int(len(found.disagree)),
        "first_that_differ": difference_table(found.disagree[:NAMED]),
        "source_failed": dg.MetadataValue.json([list(item) for item in found.failed[:NAMED]]),
        "source_not_asked": dg.MetadataValue.int(found.not_asked),
        "source_not_compared": dg.MetadataValue.int(found.not_compared),
        "refetched": dg.MetadataValue.json(list(found.refetched[:NAMED])),
    }


def _table(report: Report) -> dg.MetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "finding": name,
                    "wallets": wallets,
                    "action": KINDS[name].action,
                    "left": report.left.get(name, 0),
                    "first": next(x.wallet for x in report.findings if x.finding == name),
                }
            )
            for name, wallets in report.counts.items()
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


def _check(report: Report) -> dg.AssetCheckResult:
    trouble = {name: n for name, n in report.left.items() if name not in SETTLED}
    told = "; ".join(
        f"{wallets} {name} (first {', '.join(report.first_left(name, NAMED))}): "
        f"{KINDS[name].meaning}"
        for name, wallets in trouble.items()
    )
    checks = "; ".join(report.failed_checks)
    broken = "; ".join(f"{item.name} is broken: {item.why}" for item in report.broken[:NAMED])
    return dg.AssetCheckResult(
        check_name=CHECK,
        passed=report.clean,
        metadata={
            "trouble": dg.MetadataValue.json(trouble),
            "first": dg.MetadataValue.json(
                {name: report.first_left(name, NAMED) for name in trouble}
            ),
            "what_to_do": "docs/reconciliation.md; `polycopy reconcile --apply` acts",
        },
        description="; ".join(part for part in (told, broken, checks) if part)
        or f"{len(report.findings)} wallets are in order",
    )
