"""Detects that Dagster's record is gone while the data made from it is still there.

`DAGSTER_HOME` or the Postgres database was cleaned up or restored, or is the wrong one. A fetch
would not request stored trades again, but would request new trades of every wallet; and counts from
an empty record mean nothing. So nothing is fetched before the record is rebuilt.

A purged wallet has nothing left to rebuild a record from, so batches that say no more than that it
is empty are no sign of a lost record: a fetch would wait for it for ever.
"""

import os

import dagster as dg

from polycopy_assets.batches.manifests import sound_batches
from polycopy_assets.errors import PolycopyError
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.record.postgres import shown
from polycopy_assets.record.private.database import postgres_url
from polycopy_assets.settings.instance import EPHEMERAL, INSTANCE, database_url
from polycopy_assets.store.feed_store import FeedStore
from polycopy_assets.store.wanted import read_wanted
from polycopy_assets.text import counted
from polycopy_assets.trades.wanted import DELETED

_REBUILD = (
    "Run `polycopy reconcile --apply`: it rebuilds the record from the store and asks the source"
    " for nothing that is there"
)

_NOTHING_LEFT = (
    "The store holds nothing to rebuild it from: is POLYCOPY_STORE right, and complete? If its"
    " {} are lost, move {} elsewhere, and everything is fetched again"
)


def refuse_lost_record(instance: dg.DagsterInstance, store: FeedStore) -> None:
    """Raises PolycopyError if nothing is recorded, but the store holds batches with trades."""
    if FeedRecord(instance, store.feed).is_empty() and _has_rows(store):
        lost = _lost(instance, os.environ.get("DAGSTER_HOME", ""))
        raise PolycopyError(
            f"nothing was fetched: {lost}, but {store.uri(store.names.manifests)} holds batches"
            f" that were made from it. {_advice(store)}. Then start this again"
        )


def warning(instance: dg.DagsterInstance, store: FeedStore, rows: int, home: str) -> str:
    """What is wrong with an empty record, in one line; empty if nothing is.

    The table has `rows` rows; `home` is the directory that the settings name, which need not exist.
    Reads the store only if the record is empty.
    """
    if not FeedRecord(instance, store.feed).is_empty():
        return ""
    lost = _lost(instance, home)
    if _has_rows(store):
        return (
            f"{lost}, but {store.uri(store.names.manifests)} holds batches, and the table"
            f" {counted(rows, 'row')}. {_advice(store)}"
        )
    if _has_segments(store):
        return (
            f"{lost}, but {store.uri(store.names.segments)} holds segments. If a first fetch was"
            f" killed, `polycopy backfill` continues it. If the record is lost: {_REBUILD}"
        )
    if rows:
        return (
            f"{lost}, and so is the store, but the table holds {counted(rows, 'row')}. If an"
            f" older job wrote them, all is well; otherwise check {_chosen_by(instance)}"
        )
    return ""


def _lost(instance: dg.DagsterInstance, home: str) -> str:
    """What is empty: it names the place that people have to look at, and no password."""
    if os.environ.get(INSTANCE) == EPHEMERAL:
        return "no wallet's record could be rebuilt from the store"
    if url := postgres_url(instance):
        return f"Dagster's record in the Postgres database {shown(url)} is empty"
    return f"Dagster's record in DAGSTER_HOME={home!r} is empty"


def _chosen_by(instance: dg.DagsterInstance) -> str:
    """The settings that may name the wrong place."""
    if os.environ.get(INSTANCE) == EPHEMERAL:
        return "POLYCOPY_STORE"
    if database_url(os.environ):
        return f"{INSTANCE} and POLYCOPY_STORE"
    if postgres_url(instance):
        return "the database in dagster.yaml, and POLYCOPY_STORE"
    return "DAGSTER_HOME and POLYCOPY_STORE"


def _advice(store: FeedStore) -> str:
    nothing_left = _NOTHING_LEFT.format(store.feed.rows, store.uri(store.names.combined))
    return _REBUILD if _has_segments(store) else nothing_left


def _has_rows(store: FeedStore) -> bool:
    """Whether batches hold, or may hold, rows of a wallet that was not purged."""
    found = sound_batches(store)
    if found.broken:
        return True
    retired = read_wanted(store).retired if found.sound else {}
    gone = {wallet for wallet, state in retired.items() if state in DELETED}
    with_rows = {wallet for wallet, held in found.held if held.packed}
    return bool((with_rows | found.held.others) - gone)


def _has_segments(store: FeedStore) -> bool:
    names = store.names
    return any(names.parse_coverage(item.name) for item in store.list(names.coverage)) or any(
        names.parse_segment(item.name) is not None for item in store.list(names.segments)
    )
