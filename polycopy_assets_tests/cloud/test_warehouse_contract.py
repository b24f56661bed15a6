"""What every warehouse promises: on DuckDB, on our double of BigQuery, and on bqemulator.

Where bqemulator differs, the test says how; the double follows BigQuery's documentation.
"""

import datetime as dt
from collections import Counter
from pathlib import Path

import msgspec
import polars as pl
import pytest

from polycopy_assets.batches.combine import combine
from polycopy_assets.batches.manifest_files import wrong_files
from polycopy_assets.batches.manifests import read_manifests
from polycopy_assets.errors import BatchBroken, WarehouseError, WrongTable
from polycopy_assets.feeds.trades.feed import TRADES
from polycopy_assets.ledger.facts import Checkpoint, Tally
from polycopy_assets.pipeline.purge import commit_emptiness
from polycopy_assets.store.base import crc32c
from polycopy_assets.trades.batch import claim
from polycopy_assets.warehouse.duckdb.warehouse import DuckDBWarehouse
from polycopy_assets_tests.bench import END, WALLETS, WORLD, Bench, expected, middle


def skip(request: pytest.FixtureRequest, *, on: str, because: str) -> None:
    if request.node.callspec.params["bench"] == on:
        pytest.skip(because)


def test_a_batch_is_loaded_and_a_repeat_loads_nothing(bench: Bench):
    manifest = bench.batch(*WALLETS[:2])
    assert bench.table.loaded_batches() == set()
    assert bench.load() == [(manifest.rows, 0)]
    assert bench.load() == []
    assert bench.ids() == expected(WALLETS[:2])
    assert bench.table.loaded_batches() == {1}
    assert bench.table.count_rows() == manifest.rows
    assert bench.table.rows_by_wallet() == Counter(
        wallet for wallet, _ in expected(WALLETS[:2]).elements()
    )
    assert bench.table.duplicates(5).found == []


def test_new_trades_come_behind_the_old_ones(bench: Bench):
    cut = middle(WALLETS[0])
    bench.fetch(WALLETS[0], 0, cut)
    first = bench.combine()
    bench.fetch(WALLETS[0], cut, END)
    bench.fetch(WALLETS[1])
    second = bench.combine()
    assert first is not None
    assert second is not None
    assert bench.load() == [(first.rows, 0), (second.rows, 0)]
    assert bench.ids() == expected(WALLETS[:2])


def test_every_column_arrives_with_its_type_and_times_are_utc(bench: Bench):
    bench.batch(WALLETS[0])
    bench.load()
    ((columns, first, last, price),) = bench.sql(
        "SELECT COUNT(*), MIN(timestamp), MAX(timestamp), SUM(price * shares_normalized)"
        " FROM {}trades WHERE id IS NOT NULL AND side IN ('BUY', 'SELL')"
        " AND token_id IS NOT NULL AND condition_id IS NOT NULL AND market_slug IS NOT NULL"
        " AND title IS NOT NULL AND source = 'polymarket' AND order_hash IS NULL"
    )
    truth = WORLD.truth(WALLETS[0])
    assert columns == len(truth)
    utc = [
        moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
        for moment in (first, last)
    ]
    assert [moment.timestamp() for moment in utc] == [truth[-1].timestamp, truth[0].timestamp]
    assert price == pytest.approx(sum(t.price * t.size for t in truth))


def test_loading_again_changes_nothing_and_rows_of_others_stay(bench: Bench):
    manifest = bench.batch(WALLETS[0])
    bench.warehouse.check_writable()
    bench.sql("INSERT INTO {}trades (wallet_address, id) VALUES ('0xother', 'kept')")
    bench.sql(
        "INSERT INTO {}trades (wallet_address, id, timestamp) VALUES"
        f" ('{WALLETS[0]}', 'surplus', TIMESTAMP '2023-01-01 00:00:00'),"
        f" ('{WALLETS[0]}', 'later', TIMESTAMP '2100-01-01 00:00:00')"
    )
    assert bench.load() == [(manifest.rows, 1)]
    assert bench.load() == []
    again = bench.table.load(manifest, bench.store)
    assert (again.inserted, again.deleted) == (manifest.rows, manifest.rows)
    assert bench.table.rows_by_wallet() == {WALLETS[0]: manifest.rows + 1, "0xother": 1}
    assert bench.table.loaded_batches() == {1}
    others = Counter({("0xother", "None"): 1, (WALLETS[0], "None"): 1})
    assert bench.ids() == expected(WALLETS[:1]) + others


def test_rows_exactly_at_the_ends_of_a_claim_go_or_stay(bench: Bench):
    segment = bench.fetch(WALLETS[0], 1_000, 2_000)
    assert combine(bench.store, [claim(segment, "")], 1).manifest
    bench.warehouse.check_writable()
    for second in (999, 1_000, 1_999, 2_000):
        moment = f"{dt.datetime.fromtimestamp(second, dt.UTC):%Y-%m-%d %H:%M:%S}"
        bench.sql(
            "INSERT INTO {}trades (wallet_address, id, timestamp)"
            f" VALUES ('{WALLETS[0]}', '{second}', TIMESTAMP '{moment}')"
        )
    assert bench.load() == [(0, 2)]
    assert bench.sql("SELECT id FROM {}trades ORDER BY timestamp") == [("999",), ("2000",)]


def test_the_old_jobs_doubles_inside_the_claims_go(bench: Bench):
    manifest = bench.batch(WALLETS[0])
    bench.load()
    bench.sql("INSERT INTO {}trades SELECT * FROM {}trades")
    assert bench.table.count_rows() == 2 * manifest.rows
    assert len(bench.table.duplicates(5).found) == 5
    bench.table.load(manifest, bench.store)
    assert bench.ids() == expected(WALLETS[:1])
    assert bench.table.duplicates(5).found == []


def test_a_batch_that_holds_less_than_the_one_before_takes_out_the_rest(bench: Bench):
    cut = middle(WALLETS[0])
    older = [t for t in WORLD.truth(WALLETS[0]) if t.timestamp < cut]
    bench.fetch(WALLETS[0], 0, END - 1, claim_start=None)
    bench.combine()
    bench.load()
    first = bench.fetch(WALLETS[0], 0, cut)
    nothing = bench.fetch(WALLETS[0], END, END + 1)
    bench.segments[WALLETS[0]] = [
        first,
        msgspec.structs.replace(nothing, start=cut, until=END, claim_start=cut),
    ]
    bench.store.create(bench.segments[WALLETS[0]][1].name, bench.store.read(nothing.name))
    manifest = bench.combine()
    assert manifest is not None
    deleted = expected(WALLETS[:1]).total()
    assert bench.load() == [(len(older), deleted)]
    assert bench.ids() == Counter((WALLETS[0], t.tx_hash) for t in older)


def test_a_wallet_without_trades_that_is_combined_again_is_a_batch_of_claims_alone(bench: Bench):
    manifest = bench.batch("0x" + "5" * 40)
    assert manifest.rows == 0
    assert bench.load() == [(0, 0)]
    assert bench.load() == []


def test_parts_that_are_not_what_the_manifest_says_are_not_loaded_at_all(bench: Bench):
    manifest = bench.batch(WALLETS[0])
    bench.load()
    assert manifest.parts
    part = msgspec.structs.replace(manifest.parts[0], rows=manifest.rows + 1)
    wrong = msgspec.structs.replace(manifest, rows=manifest.rows + 1, parts=[part])
    with pytest.raises(WarehouseError, match="nothing was loaded"):
        bench.table.load(wrong, bench.store)
    assert bench.ids() == expected(WALLETS[:1])


@pytest.mark.parametrize("which", [0, -1], ids=["a part", "the claims"])
@pytest.mark.parametrize("size", ["same", "other"])
def test_files_are_compared_with_the_manifest_before_anything_is_loaded(
    bench: Bench, which: int, size: str
):
    manifest = bench.batch(*WALLETS[:2])
    part = manifest.files[which]
    data = bench.store.read(part.name)
    bench.store.delete(part.name)
    bench.store.create(part.name, data[:-8] + bytes(8) if size == "same" else data + b"x")
    with pytest.raises(BatchBroken, match="checksum" if size == "same" else "bytes") as error:
        bench.load()
    assert error.value.batch == 1
    assert part.name in str(error.value)
    assert bench.table.loaded_batches() == set()
    assert bench.table.count_rows() == 0
    cost = bench.warehouse.cost
    assert cost is None or cost.load_jobs == 0


def test_rows_that_no_claim_answers_for_are_not_loaded(bench: Bench, tmp_path: Path):
    """A part that was written over brought rows that nothing took out again."""
    honest = bench.batch(WALLETS[0])
    bench.load()
    bench.batch(WALLETS[1])
    _, second = read_manifests(bench.store)
    stranger = "0x" + "9" * 40
    with bench.store.local(second.parts[0].name) as path:
        rows = pl.read_parquet(path)
    written = tmp_path / "part.parquet"
    for wrong in (
        rows.with_columns(wallet_address=pl.lit(stranger)),
        rows.with_columns(pl.col("timestamp").dt.offset_by("100y")),
        pl.concat([rows, rows.head(3).with_columns(wallet_address=pl.lit(WALLETS[0]))]),
    ):
        wrong.write_parquet(written)
        bench.store.delete(second.parts[0].name)
        bench.store.create_from(second.parts[0].name, written)
        part = msgspec.structs.replace(
            second.parts[0],
            rows=len(wrong),
            size=written.stat().st_size,
            crc32c=crc32c(written.read_bytes()),
        )
        forged = msgspec.structs.replace(second, rows=len(wrong), parts=[part])
        assert not wrong_files(bench.store, forged)
        with pytest.raises(BatchBroken, match=r"claim.*nothing was loaded"):
            bench.table.load(forged, bench.store)
        assert bench.ids() == expected(WALLETS[:1])
        assert bench.table.loaded_batches() == {honest.batch}


def test_rows_that_we_loaded_are_told_from_those_of_others(
    bench: Bench, request: pytest.FixtureRequest
):
    skip(
        request,
        on="bqemulator",
        because="bqemulator miscounts the parameters of a statement with two arrays",
    )
    manifest = bench.batch(*WALLETS[:2])
    assert bench.table.loaded_rows(WALLETS) == {}
    bench.load()
    bench.sql(
        "INSERT INTO {}trades (wallet_address, id, source) VALUES"
        f" ('{WALLETS[0]}', 'x', NULL), ('{WALLETS[0]}', 'x', 'somebody'),"
        f" ('{WALLETS[0].upper()}', 'x', 'polymarket')"
    )
    of = {wallet: len(WORLD.truth(wallet)) for wallet in WALLETS[:2]}
    assert bench.table.loaded_rows([]) == {}
    assert bench.table.loaded_rows(WALLETS) == of
    assert bench.table.delete_loaded(WALLETS[:1]) == of[WALLETS[0]]
    assert bench.table.loaded_rows(WALLETS) == {WALLETS[1]: of[WALLETS[1]]}
    assert bench.table.count_rows() == manifest.rows - of[WALLETS[0]] + 3


def test_a_table_that_was_lost_is_loaded_again_from_the_first_batch(bench: Bench):
    first = bench.batch(WALLETS[0])
    bench.load()
    second = bench.batch(WALLETS[1])
    bench.load()
    bench.sql("DROP TABLE {}trades")
    assert bench.table.loaded_batches() == set()
    assert bench.load() == [(first.rows, 0), (second.rows, 0)]
    assert bench.ids() == expected(WALLETS[:2])


def test_a_table_that_was_emptied_is_loaded_again_from_the_first_batch(bench: Bench):
    manifests = [bench.batch(wallet) for wallet in WALLETS[:2]]
    bench.load()
    bench.sql("DELETE FROM {}trades WHERE true")
    assert bench.table.loaded_batches() == set()
    assert bench.load() == [(item.rows, 0) for item in manifests]
    assert bench.table.loaded_batches() == {1, 2}
    assert bench.ids() == expected(WALLETS[:2])


def test_a_table_that_its_batches_leave_empty_was_not_emptied(bench: Bench):
    bench.fetch("0x" + "5" * 40)
    bench.fetch(WALLETS[0], 0, middle(WALLETS[0]))
    bench.combine()
    bench.load()
    taken_out = bench.fetch(WALLETS[0], 0, 1)
    rest = bench.fetch(WALLETS[0], END, END + 1)
    rest = msgspec.structs.replace(rest, start=1, until=END, claim_start=1)
    bench.store.create(rest.name, bench.store.read(taken_out.name))
    bench.segments[WALLETS[0]] = [taken_out, rest]
    assert bench.combine() is not None
    bench.load()
    assert bench.table.count_rows() == 0
    assert bench.table.loaded_batches() == {1, 2}
    assert bench.load() == []
    bench.batch(WALLETS[1])
    bench.load()
    bench.sql("DELETE FROM {}trades WHERE true")
    assert bench.table.loaded_batches() == set()


def test_the_table_knows_the_store_that_its_batches_are_of(bench: Bench):
    ours, theirs = "a" * 32, "b" * 32
    first, second = bench.batch(WALLETS[0]), bench.batch(WALLETS[1])
    assert bench.table.held()[:2] == ({}, None)
    bench.table.load(first, bench.store, ours)
    assert bench.table.held().store == ours
    with pytest.raises(WrongTable, match=f"{ours}.*{theirs}.*--accept-table"):
        bench.table.load(second, bench.store, theirs)
    assert bench.ids() == expected(WALLETS[:1])
    assert bench.table.held().batches.keys() == {1}
    bench.table.load(second, bench.store, ours)
    bench.table.take_over(theirs)
    assert bench.table.held().batches.keys() == {1, 2}
    assert bench.table.held().store == theirs


def test_a_table_that_forgets_its_batches_keeps_its_rows_and_is_loaded_again(bench: Bench):
    for wallet in WALLETS[:2]:
        bench.table.load(bench.batch(wallet), bench.store, "a" * 32)
    bench.table.forget_batches()
    assert bench.table.held()[:2] == ({}, None)
    assert bench.ids() == expected(WALLETS[:2])
    assert len(bench.load()) == 2
    assert bench.ids() == expected(WALLETS[:2])


def test_it_is_told_whether_the_table_has_as_many_rows(bench: Bench):
    assert bench.table.has_rows(0)
    assert not bench.table.has_rows(1)
    rows = bench.batch(WALLETS[0]).rows
    bench.load()
    assert bench.table.has_rows(rows)
    assert not bench.table.has_rows(rows + 1)


def test_an_older_table_is_widened_and_keeps_its_rows(bench: Bench, request: pytest.FixtureRequest):
    skip(
        request,
        on="bqemulator",
        because="bqemulator adds columns to its catalogue and not to the table",
    )
    text, number = ("VARCHAR", "INT") if bench.warehouse.cost is None else ("STRING", "INT64")
    bench.sql(f"CREATE TABLE {{}}trades (id {text}, wallet_address {text}, x {number})")
    bench.sql("INSERT INTO {}trades (id, wallet_address, x) VALUES ('old', '0xold', 7)")
    manifest = bench.batch(WALLETS[0])
    bench.load()
    assert bench.sql("SELECT x, price FROM {}trades WHERE id = 'old'") == [(7, None)]
    assert bench.table.count_rows() == 1 + manifest.rows


def test_traders_are_added_once_whatever_their_case(bench: Bench):
    assert bench.warehouse.add_traders(["0xa", "0xb"]) == 2
    assert bench.warehouse.add_traders(["0xA", "0xc"]) == 1
    assert bench.warehouse.add_traders([]) == 0
    assert sorted(map(str, bench.warehouse.traders())) == ["0xa", "0xb", "0xc"]
    bench.sql("INSERT INTO {}traders (wallet_address) VALUES (NULL), (' 0xD ')")
    assert bench.warehouse.add_traders(["0xd"]) == 0
    assert None in bench.warehouse.traders()


def test_the_old_jobs_ledger_is_read_as_it_stands(bench: Bench):
    assert bench.warehouse.checkpoint() is None
    text, number = ("VARCHAR", "BIGINT") if bench.warehouse.cost is None else ("STRING", "INT64")
    bench.sql(
        f"CREATE TABLE {{}}backfill_checkpoint (wallet_address {text}, completed BOOL,"
        f" processed_at TIMESTAMP, trade_count {number}, gcs_file {text}, upload_successful BOOL,"
        f" something_else {text})"
    )
    assert bench.warehouse.checkpoint() == []
    bench.sql(
        "INSERT INTO {}backfill_checkpoint VALUES"
        " ('0xA', TRUE, TIMESTAMP '2026-01-02 03:04:05', 7, 'gs://b/trades/0xA.jsonl', TRUE, 'x'),"
        " (NULL, NULL, NULL, NULL, NULL, NULL, NULL)"
    )
    rows = bench.warehouse.checkpoint()
    assert rows is not None
    first, second = sorted(rows, key=lambda row: row.wallet_address or "~")
    assert (first.wallet_address, first.completed, first.trade_count) == ("0xA", True, 7)
    assert first.processed_at is not None
    assert first.processed_at.replace(tzinfo=None) == dt.datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001
    assert (first.gcs_file, first.upload_successful) == ("gs://b/trades/0xA.jsonl", True)
    assert set(second) == {None}


def test_a_checkpoint_of_text_says_what_its_words_say(bench: Bench):
    text = "VARCHAR" if bench.warehouse.cost is None else "STRING"
    columns = ", ".join(f"{name} {text}" for name in Checkpoint._fields)
    bench.sql(f"CREATE TABLE {{}}backfill_checkpoint ({columns})")
    bench.sql(
        "INSERT INTO {}backfill_checkpoint VALUES"
        " ('0xa', 'true', '2026-01-02 03:04:05', '7', 'f', 'true'),"
        " ('0xb', 'false', '', NULL, NULL, 'false'), ('0xc', 'so so', '1767323045', 'many', '', '')"
    )
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert sorted(bench.warehouse.checkpoint() or ()) == [
        ("0xa", True, moment, 7, "f", True),
        ("0xb", False, None, None, None, False),
        ("0xc", None, None, -1, "", None),
    ]


def test_a_checkpoint_of_numbers_says_what_they_mean(bench: Bench):
    number = "BIGINT" if bench.warehouse.cost is None else "INT64"
    columns = ", ".join(f"{name} {number}" for name in Checkpoint._fields)
    bench.sql(f"CREATE TABLE {{}}backfill_checkpoint ({columns})")
    bench.sql("INSERT INTO {}backfill_checkpoint VALUES (3, 1, 1767323045, 7, 5, 0)")
    assert bench.warehouse.checkpoint() == [("3", True, None, 7, "5", False)]
    bench.sql(f"CREATE TABLE {{}}traders (wallet_address {number})")
    bench.sql("INSERT INTO {}traders VALUES (8)")
    assert bench.warehouse.traders() == ["8"]


def test_white_space_around_an_address_hides_no_row(bench: Bench, request: pytest.FixtureRequest):
    skip(request, on="bqemulator", because="its TRIM takes spaces alone")
    bench.warehouse.check_writable()
    for blank in ("\t", "\n", "\r", " "):
        bench.sql(
            "INSERT INTO {}trades (wallet_address, timestamp)"
            " VALUES (@address, TIMESTAMP '2026-01-01 00:00:00')",
            address=WALLETS[0] + blank,
        )
    bench.sql("INSERT INTO {}traders (wallet_address) VALUES (@address)", address="\t" + WALLETS[0])
    assert bench.table.tally({WALLETS[0]: END}) == [(WALLETS[0], Tally(4, 4, 0, 4))]
    assert bench.table.delete_mixed_case({WALLETS[0]: END}) == 4
    assert bench.warehouse.add_traders([WALLETS[0]]) == 0


def _ticked(wallet: str, moment: dt.datetime, count: int) -> Checkpoint:
    return Checkpoint(
        wallet_address=wallet,
        completed=True,
        processed_at=moment,
        trade_count=count,
        gcs_file=f"gs://b/{wallet}/",
        upload_successful=True,
    )


def checkpoint_table(bench: Bench) -> None:
    text = "VARCHAR" if isinstance(bench.warehouse, DuckDBWarehouse) else "STRING"
    bench.sql(
        f"CREATE TABLE {{}}backfill_checkpoint (wallet_address {text}, completed BOOL,"
        f" processed_at TIMESTAMP, trade_count INT64, gcs_file {text}, upload_successful BOOL)"
    )


def test_wallets_are_ticked_off_in_the_checkpoint_whatever_case_it_has_them_in(bench: Bench):
    checkpoint_table(bench)
    upper = "0x" + WALLETS[0][2:].upper()
    bench.sql(
        "INSERT INTO {}backfill_checkpoint VALUES"
        f" ('{upper}', FALSE, NULL, NULL, NULL, NULL), ('{upper}', NULL, NULL, 3, 'f', FALSE),"
        " ('nobody', FALSE, NULL, NULL, NULL, NULL), (NULL, FALSE, NULL, NULL, NULL, NULL)"
    )
    moment = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    ticks = [_ticked(w, moment, n) for n, w in enumerate(WALLETS)]
    for _ in range(2):
        bench.warehouse.mark_complete(ticks)
    rows = bench.warehouse.checkpoint()
    assert rows is not None
    assert len(rows) == len(WALLETS) + 3
    ours = [row for row in rows if row.completed]
    assert sorted(str(row.wallet_address).lower() for row in ours) == sorted([*WALLETS, WALLETS[0]])
    for row in ours:
        number = WALLETS.index(str(row.wallet_address).lower())
        assert row == ticks[number]._replace(wallet_address=row.wallet_address)
    assert {row.wallet_address for row in rows if not row.completed} == {"nobody", None}


def test_rows_are_tallied_inside_the_claims_and_told_from_those_of_an_older_job(bench: Bench):
    bench.batch(*WALLETS[:3])
    bench.load()
    one, two, three = WALLETS[:3]
    rows = {wallet: len(WORLD.truth(wallet)) for wallet in (one, two, three)}
    cut = middle(two)
    before = sum(trade.timestamp < cut for trade in WORLD.truth(two))
    upper = "0x" + one[2:].upper()
    for wallet, seconds in ((one, 5), (upper, 6), (one, END + 1), (three, END)):
        moment = f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%F %T}"
        bench.sql(
            "INSERT INTO {}trades (wallet_address, timestamp, id)"
            f" VALUES ('{wallet}', TIMESTAMP '{moment}', 'x')"
        )
    claims = {one: END, two: cut, three: END, WALLETS[3]: END}
    tallied = dict(bench.table.tally(claims))
    assert tallied == {
        one: Tally(rows[one] + 3, rows[one] + 2, rows[one], 1),
        two: Tally(rows[two], before, before, 0),
        three: Tally(rows[three] + 1, rows[three], rows[three], 0),
    }
    assert bench.table.delete_mixed_case({one: 6}) == 0
    assert bench.table.delete_mixed_case(claims) == 1
    assert dict(bench.table.tally({}))[one] == Tally(rows[one] + 2, 0, 0, 0)


def test_two_rows_of_one_id_are_one_when_ids_are_counted(bench: Bench):
    bench.batch(WALLETS[0])
    bench.load()
    ((wallet, before),) = bench.table.tally({WALLETS[0]: END}, by_id=True)
    assert before.rows == before.ours > 1
    bench.sql("INSERT INTO {}trades SELECT * FROM {}trades")
    assert bench.table.tally({WALLETS[0]: END}, by_id=True) == [
        (wallet, Tally(2 * before.rows, 2 * before.rows, before.ours, 0))
    ]


def test_reading_makes_no_table_and_widens_none(bench: Bench):
    warehouse = bench.warehouse
    assert warehouse.traders() == []
    assert warehouse.table(TRADES).loaded_batches() == set()
    assert warehouse.table(TRADES).count_rows() == 0
    assert warehouse.table(TRADES).rows_by_wallet() == {}
    assert warehouse.table(TRADES).tally({WALLETS[0]: END}) == []
    assert warehouse.table(TRADES).duplicates(3).found == []
    assert warehouse.checkpoint() is None
    text = "VARCHAR" if isinstance(bench.warehouse, DuckDBWarehouse) else "STRING"
    bench.sql(f"CREATE TABLE {{}}trades (wallet_address {text}, id {text}, timestamp TIMESTAMP)")
    bench.sql(
        "INSERT INTO {}trades VALUES (@wallet, 'a', TIMESTAMP '2026-01-01 00:00:00')",
        wallet=WALLETS[0],
    )
    assert warehouse.table(TRADES).count_rows() == 1
    assert warehouse.table(TRADES).tally({WALLETS[0]: END}) == [(WALLETS[0], Tally(1, 1, 0, 0))]
    with pytest.raises(Exception, match=r"(?i)title|not found|unrecognized|column"):
        bench.sql("SELECT title FROM {}trades")
    with pytest.raises(Exception, match=r"(?i)traders"):
        bench.sql("SELECT * FROM {}traders")


def test_order_outcome_event_and_notional_arrive_in_the_table(bench: Bench):
    bench.batch(WALLETS[0])
    bench.load()
    served = WORLD.truth(WALLETS[0])
    rows = bench.sql(
        "SELECT sequence, outcome_index, event_slug, price * shares_normalized - notional_usdc"
        " FROM {}trades"
    )
    assert len(rows) == len(served)
    assert {row[1:3] for row in rows} == {(t.outcome_index, t.slug) for t in served}
    assert all(row[0] >= 0 and abs(row[3]) < 1e-9 for row in rows)


def test_rows_are_counted_by_month(bench: Bench):
    assert bench.table.rows_by_month().rows == {}
    bench.batch(*WALLETS[:2])
    bench.load()
    want = Counter(
        dt.datetime.fromtimestamp(trade.timestamp, dt.UTC).date().replace(day=1)
        for wallet in WALLETS[:2]
        for trade in WORLD.truth(wallet)
    )
    assert bench.table.rows_by_month() == (want, None)


def test_the_state_of_traders_changes_when_somebody_is_added_and_not_by_looking(
    bench: Bench, request: pytest.FixtureRequest
):
    skip(request, on="bqemulator", because="its tables have the same etag for ever")
    before = bench.warehouse.traders_state()
    bench.warehouse.add_traders(WALLETS[:1])
    first = bench.warehouse.traders_state()
    assert bench.warehouse.traders() == WALLETS[:1]
    assert bench.warehouse.traders_state() == first != before
    bench.warehouse.add_traders(WALLETS[1:2])
    assert bench.warehouse.traders_state() != first


def test_a_batch_that_comes_behind_a_later_one_has_the_later_one_loaded_again(bench: Bench):
    """Its rows go over those of the later batch; killed in between, nobody would ever know."""
    cut = middle(WALLETS[0])
    bench.fetch(WALLETS[0], 0, cut)
    first = bench.combine()
    bench.fetch(WALLETS[0], cut, END)
    bench.combine()
    bench.load()
    assert first is not None
    bench.table.load(first, bench.store)
    assert bench.table.loaded_batches() == {1}
    assert len(bench.load()) == 1
    assert bench.table.loaded_batches() == {1, 2}
    assert bench.ids() == expected(WALLETS[:1])


def test_rows_of_traders_are_removed_whatever_their_case_and_a_repeat_removes_nothing(
    bench: Bench,
):
    assert bench.warehouse.remove_traders(WALLETS[:1]) == 0, "there is no such table yet"
    bench.warehouse.add_traders(WALLETS[:3])
    bench.sql(f"INSERT INTO {{}}traders (wallet_address) VALUES (' {WALLETS[0].upper()}'), (NULL)")
    assert bench.warehouse.remove_traders([]) == 0
    assert bench.warehouse.remove_traders(WALLETS[:2]) == 3
    assert bench.warehouse.remove_traders(WALLETS[:2]) == 0
    assert sorted(map(str, bench.warehouse.traders())) == sorted([WALLETS[2].lower(), "None"])


def test_a_batch_that_claims_all_time_without_trades_empties_a_wallet(bench: Bench):
    """As a purge does it; also where the table is loaded again from the beginning."""
    first = bench.batch(*WALLETS[:2])
    bench.load()
    number = commit_emptiness(bench.store, WALLETS[:1], bench.table.loaded_batches(), END)
    gone = len(WORLD.truth(WALLETS[0]))
    assert bench.load() == [(0, gone)]
    assert bench.ids() == expected(WALLETS[1:2])
    assert bench.table.loaded_batches() == {1, number}
    bench.table.forget_batches()
    assert bench.load()[-1] == (0, gone)
    assert bench.ids() == expected(WALLETS[1:2])
    assert first.rows - gone == bench.table.count_rows()
