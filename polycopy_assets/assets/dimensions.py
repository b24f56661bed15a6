"""`tokens` and `markets`: what the source says of every condition in the tables of feeds."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import dagster as dg

from polycopy_assets.assets import OWNERS, TAGS
from polycopy_assets.assets.load_events import qualified
from polycopy_assets.assets.pages import MARKETS_PAGE
from polycopy_assets.assets.plainly import failing_plainly
from polycopy_assets.dimensions.columns import DIMENSIONS, schema
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.exclusive import SOURCE
from polycopy_assets.guard.working import working
from polycopy_assets.pipeline.dimensions import DimensionPorts, Kept, keep_dimensions
from polycopy_assets.pipeline.new_conditions import Loaded
from polycopy_assets.resources.embedded import SourceResource, StoreResource, WarehouseResource
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import first_few, listed, one_line
from polycopy_assets.warehouse.feed_table import cost_metadata

NAME = "dimensions"
EVERY_CONDITION_IS_KNOWN = "every_condition_is_known"
SHOWN = 20

_FIRST: dict[str, str] = {
    "tokens": "Every outcome's token in {}: its name, its place, and what a share pays.\n\n",
    "markets": "Every market in {}: question, category, tags, fees, and how it was resolved.\n\n",
}


def _spec(name: str, tables: Sequence[str]) -> dg.AssetSpec:
    columns, relation = DIMENSIONS[name]
    return dg.AssetSpec(
        name,
        deps=tables,
        group_name="trades",
        kinds={"python", "table"},
        owners=OWNERS,
        tags=TAGS,
        description=_FIRST[name].format(_said(tables))
        + "What changes is kept, with the time for which it held. What is "
        "final is not asked for again.\n\n" + MARKETS_PAGE,
        metadata={
            "dagster/column_schema": dg.TableSchema(
                columns=[
                    dg.TableColumn(
                        column,
                        str(schema(name)[column]).lower().partition("(")[0],
                        relation.columns[column],
                    )
                    for column in columns
                ]
            )
        },
    )


def _said(tables: Sequence[str]) -> str:
    return listed(f"`{table}`" for table in tables)


@cache
def dimensions(feeds: tuple[Feed, ...]) -> dg.AssetsDefinition:
    """Both tables, of the conditions in the tables of `feeds`."""
    tables = [feed.table for feed in feeds]

    @dg.multi_asset(
        name=NAME,
        specs=[_spec("tokens", tables), _spec("markets", tables)],
        check_specs=[
            dg.AssetCheckSpec(
                EVERY_CONDITION_IS_KNOWN,
                asset="markets",
                description=f"The source knows every condition in {_said(tables)}, and answers for "
                "it.",
            )
        ],
        pool=SOURCE,
    )
    def dimensions(
        context: dg.AssetExecutionContext,
        source: SourceResource,
        store: StoreResource,
        warehouse: WarehouseResource,
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        """Asks for what is new or may still change, and replaces both tables.

        A run that is repeated asks only for what is not final, and changes nothing else.
        """
        with failing_plainly(context), working(context, SOURCE, progress) as permit:
            objects = store.open(context.instance)
            opened = warehouse.open_for(context.instance, objects, "markets", context.run.run_id)
            kept = keep_dimensions(
                DimensionPorts(
                    store=objects.whole,
                    loaded=[
                        Loaded(
                            FeedStore(objects, feed),
                            frozenset(table.loaded_batches()),
                            table.conditions,
                        )
                        for feed in feeds
                        for table in [opened.table(feed)]
                    ],
                    tables=opened.dimensions,
                    open_source=source.dimensions(progress, permit),
                    check=permit.check,
                    step=progress.step,
                )
            )
        metadata = {**_metadata(kept), **cost_metadata(opened.cost)}
        for name in DIMENSIONS:
            of_table = {
                "dagster/row_count": kept.rows.get(name, 0),
                "dagster/uri": opened.uri,
                "dagster/table_name": qualified(opened.uri, name),
            }
            yield dg.MaterializeResult(asset_key=name, metadata={**metadata, **of_table})
        yield _check(kept)

    return dimensions


def _metadata(kept: Kept) -> dict[str, Any]:
    return {
        "conditions": kept.conditions,
        "asked": kept.asked,
        "changed": kept.changed,
        "requests": kept.requests,
        "unknown": len(kept.unknown),
        "refused": len(kept.refused),
        **({"combos_without_tokens": len(kept.silent)} if kept.silent else {}),
    }


def _check(kept: Kept) -> dg.AssetCheckResult:
    """Warns of conditions that nobody knows, that were refused, and of values that are none.

    Combos without tokens are named, and no reason to warn: whether the source lists them under
    their conditions is not promised, and there is nothing to be done.
    """
    said = [
        (kept.unknown, "the source does not know"),
        (kept.odd, "no condition ids, and cannot be asked for"),
        ([f"{condition} ({why})" for condition, why in kept.refused.items()], "refused"),
    ]
    lines = [_line(names, what) for names, what in said if names]
    known = kept.conditions - len(kept.silent)
    told = lines or [f"{known:,} conditions are known"]
    if kept.silent:
        told.append(_line(kept.silent, "combos, whose tokens the source does not list"))
    return dg.AssetCheckResult(
        passed=not lines,
        severity=dg.AssetCheckSeverity.WARN,
        check_name=EVERY_CONDITION_IS_KNOWN,
        asset_key="markets",
        description="; ".join(told),
    )


def _line(names: Sequence[str], what: str) -> str:
    return f"{len(names):,} {what}: {first_few([one_line(name) for name in names], SHOWN)}"
