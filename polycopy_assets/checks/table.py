"""Checks of the table: no id occurs twice, and every recorded row is there once."""

from collections.abc import Collection, Mapping
from functools import cache

import dagster as dg

from polycopy_assets.batches.manifests import read_batches
from polycopy_assets.batches.plan import pending
from polycopy_assets.checks.computed import NAMED, computed
from polycopy_assets.checks.shown import shown
from polycopy_assets.feeds.base import Feed
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.record.asset_keys import asset_keys
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.materializations import Record
from polycopy_assets.record.store_id import checked_table
from polycopy_assets.resources.embedded import StoreResource, WarehouseResource
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.text import counted
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.segment import recorded_rows
from polycopy_assets.trades.wallet import ADDRESS
from polycopy_assets.warehouse.feed_table import FeedTable, cost_metadata

NO_DUPLICATE_IDS = "no_duplicate_ids"
ROWS_MATCH_RECORD = "rows_match_record"

_REPAIR = "`polycopy reconcile` says what is wrong with each wallet, `--apply` repairs it"
_REPAIR_IDS = f"{_REPAIR}; on BigQuery with `--verify`, which reads the ids as well"


@cache
def no_duplicate_ids(feed: Feed) -> dg.AssetChecksDefinition:
    """The check that no row is in the table of `feed` twice."""
    keys = asset_keys(feed)

    @dg.asset_check(
        name=NO_DUPLICATE_IDS,
        asset=keys.table,
        description="No (wallet_address, id) occurs twice.",
    )
    def check(
        context: dg.AssetCheckExecutionContext,
        warehouse: WarehouseResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.AssetCheckResult:
        """Fails with the first rows that the table holds more than once."""
        with computed(context, progress) as outcome:
            outcome.result = duplicates(warehouse.open(feed.table, context.run.run_id).table(feed))
        return outcome.result

    return check


@cache
def rows_match_record(feed: Feed) -> dg.AssetChecksDefinition:
    """The check that the table of `feed` holds what is recorded."""
    keys = asset_keys(feed)

    @dg.asset_check(
        name=ROWS_MATCH_RECORD,
        asset=keys.table,
        additional_deps=[keys.wallets, keys.combined],
        description="For every wallet, the batches hold what the record says, and the table has as "
        "many rows.",
    )
    def check(
        context: dg.AssetCheckExecutionContext,
        store: StoreResource,
        warehouse: WarehouseResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.AssetCheckResult:
        """Fails with the first wallets whose rows in the table are not those of the record."""
        with computed(context, progress) as outcome:
            objects = store.open(context.instance, feed)
            table = warehouse.open(feed.table, context.run.run_id).table(feed)
            outcome.result = conservation(context.instance, objects, table)
        return outcome.result

    return check


def duplicates(table: FeedTable) -> dg.AssetCheckResult:
    """The result of `no_duplicate_ids` for `table`.

    Where queries cost money, it reads only the newest months, as many as a small amount pays for.
    """
    found, since = table.duplicates(NAMED)
    where = f" since {since:%Y-%m-%d}" if since else ""
    return dg.AssetCheckResult(
        passed=not found,
        check_name=NO_DUPLICATE_IDS,
        asset_key=asset_keys(table.feed).table,
        metadata={
            **shown("first", [list(item) for item in found]),
            "looked_at": f"{table.feed.rows}{where}" if where else "the whole table",
            **({"what_to_do": _REPAIR_IDS} if found else {}),
            **cost_metadata(table.cost),
        },
        description=(
            f"{len(found)} or more ids occur twice, first {found[0][1]} of {found[0][0]}"
            if found
            else f"every id{where} occurs once"
        ),
    )


def conservation(
    instance: dg.DagsterInstance, store: FeedStore, table: FeedTable
) -> dg.AssetCheckResult:
    """The result of `rows_match_record` for `table`.

    What was recorded since the last combine is not expected in the table yet. Where counting costs
    money, an equal number of rows in total is enough. Rows outside the record's coverage are
    another writer's: wallets that seem to differ are counted again without them. Rows that we
    loaded for wallets in no record and no batch are named as well.
    """
    record = FeedRecord(instance, store.feed)
    recorded = record.versions()
    held = read_batches(store).held
    waiting = pending(recorded, held)
    expected = _expected(recorded, held, frozenset(waiting))
    checked_table(instance, store, table, keep=False)
    together = table.cost is not None and table.count_rows() == sum(expected.values())
    in_table = {} if together else table.rows_by_wallet()
    wrong = [] if together else _wrong(record, table, expected, in_table)
    known = recorded.keys() | record.revoked().keys()
    # Another instance that shares the store may have recorded the wallets that its batches name.
    unknown = [
        w for w in in_table if w and ADDRESS.fullmatch(w) and w not in known and not held.names(w)
    ]
    wrong += [(wallet, 0, rows) for wallet, rows in table.loaded_rows(unknown).items()]
    return dg.AssetCheckResult(
        passed=not wrong,
        check_name=ROWS_MATCH_RECORD,
        asset_key=asset_keys(table.feed).table,
        metadata={
            "wallets": len(recorded),
            "rows_recorded": sum(recorded_rows(recorded).values()),
            "rows_combined": sum(expected.values()),
            "compared": "all rows together" if together else "wallet by wallet",
            "wallets_that_differ": len(wrong),
            "not_combined_yet": len(waiting),
            **shown("first_not_combined_yet", waiting[:NAMED]),
            "rows_of_other_wallets": sum(n for w, n in in_table.items() if w not in recorded),
            **shown(
                "first",
                [
                    {"wallet": wallet, "record": want, "table": have}
                    for wallet, want, have in wrong[:NAMED]
                ],
            ),
            **({"what_to_do": _REPAIR} if wrong else {}),
            **cost_metadata(table.cost),
        },
        description=(
            f"{counted(len(wrong), 'wallet differs', 'wallets differ')}, first {wrong[0][0]}: "
            f"{counted(wrong[0][1], 'row')} in the record, {wrong[0][2]:,} in the table"
            if wrong
            else f"{counted(sum(expected.values()), 'row')} in the record and in the table"
            if together
            else counted(len(expected), "wallet agrees", "wallets agree")
        ),
    )


def _expected(
    recorded: Mapping[str, str], held: Holdings, waiting: Collection[str]
) -> dict[str, int]:
    """The rows of each recorded wallet that a table with all batches has.

    Those that were combined last: what was recorded since is not in the batches. A wallet whose
    record was revoked is fetched again; until then its rows are not compared. A partly combined
    wallet has no version in the batches: compare with the record's.
    """
    left_out = {wallet for wallet in waiting if held.version(wallet) is None}
    return recorded_rows(
        {
            wallet: (held.version(wallet) or version) if wallet in waiting else version
            for wallet, version in recorded.items()
            if wallet not in left_out
        }
    )


def _wrong(
    record: FeedRecord,
    table: FeedTable,
    expected: Mapping[str, int],
    counted: Mapping[str, int],
) -> list[tuple[str, int, int]]:
    wrong = differences(expected, counted)
    if not wrong:
        return []
    read = dict(record.read([wallet for wallet, _, _ in wrong]))
    until = {w: item.covered_until for w, item in read.items() if isinstance(item, Record)}
    tallied = table.tally(until)
    inside = {
        # The coverage of a record that cannot be read is unknown.
        wallet: tally.inside if wallet in until else tally.rows
        for wallet, tally in tallied
        if wallet
    }
    return differences({wallet: want for wallet, want, _ in wrong}, inside)


def differences(
    recorded: Mapping[str, int], table: Mapping[str, int]
) -> list[tuple[str, int, int]]:
    """(wallet, rows recorded, rows in the table) where the two differ, sorted by wallet."""
    return [
        (wallet, rows, table.get(wallet, 0))
        for wallet, rows in sorted(recorded.items())
        if table.get(wallet, 0) != rows
    ]
