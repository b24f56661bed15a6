"""The old job's files: read line by line, and turned into segments."""

import errno
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from polycopy_assets.demo.generate import generate
from polycopy_assets.errors import ContractBroken, StoreError
from polycopy_assets.ledger.evidence import Believed
from polycopy_assets.ledger.facts import OldFile, whole_until
from polycopy_assets.migration.old_files import adopt, inspect
from polycopy_assets.migration.old_job import as_row, parse_old_name
from polycopy_assets.trades.interval import Interval
from polycopy_assets_tests.of_trades import Directory
from polycopy_assets_tests.old_job import old_file, old_line, upper
from polycopy_assets_tests.rows import table_of

WORLD = generate(21, 3, whales=2, whale_trades=400)
WALLET = WORLD.wallets()[0].lower()
TRADES = list(WORLD.truth(WALLET))
END = TRADES[0].timestamp + 1
NAME = f"trades/{WALLET}.jsonl"


def a_line(**changes: Any) -> bytes:
    return json.dumps({**old_line(TRADES[0]), **changes}).encode()


def stored(tmp_path: Path, content: bytes) -> tuple[Directory, OldFile]:
    store = Directory(tmp_path)
    store.create(NAME, content)
    return store, OldFile(name=NAME, size=len(content))


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({}, TRADES[0].timestamp),
        ({"timestamp": "2024-02-03 04:05:06"}, 1_706_933_106),
        ({"timestamp": "2024-02-03T04:05:06Z"}, 1_706_933_106),
        ({"timestamp": "2024-02-03T05:05:06+01:00"}, 1_706_933_106),
        ({"timestamp": 1_706_933_106}, 1_706_933_106),
        ({"timestamp": "2024-02-03 04:05:06 UTC"}, 1_706_933_106),
        ({"timestamp": "2024-02-03 04:05:06.987654 UTC"}, 1_706_933_106),
        ({"price": "0.25", "shares_normalized": "3"}, TRADES[0].timestamp),
        ({"wallet_address": upper(WALLET)}, TRADES[0].timestamp),
        ({"something": {"else": 1}}, TRADES[0].timestamp),
        ({"id": None, "condition_id": None, "token_label": None}, TRADES[0].timestamp),
    ],
)
def test_a_line_becomes_a_row_in_domes_shape(changes: dict[str, Any], seconds: int):
    row = as_row(a_line(**changes), WALLET)
    assert (row.wallet, row.timestamp, row.tx_hash) == (WALLET, seconds, TRADES[0].tx_hash)
    served = json.loads(row.raw)
    assert served["polycopy_source"] == "checkpoint"
    assert served["timestamp"] == seconds
    assert isinstance(served["price"], float)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"id": "0x1", "condi', "not a trade"),
        (b"[]", "not a trade"),
        (a_line(timestamp="yesterday"), "not a trade: Invalid isoformat"),
        (a_line(timestamp=None), "timestamp"),
        (a_line(timestamp="1969-12-31 23:59:59"), "its time is '1969"),
        (a_line(timestamp=TRADES[0].timestamp * 1000), "its time is 1"),
        (a_line(timestamp=10**30), "its time is 1000000"),
        (a_line(timestamp="2286-11-20 17:46:40"), "its time is '2286"),
        (a_line(timestamp="2026-01-01"), "no time of day in '2026-01-01'"),
        (a_line(timestamp="2026-01-01 10"), "no time of day"),
        (a_line(x=1)[:-2] + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested too deeply"),
        (a_line(price="nan"), "shares at the price nan"),
        (a_line(shares_normalized="-inf"), "-inf shares at"),
        (b"\xef\xbb\xbf" + a_line(), "not a trade"),
        (a_line(token_id="1.0467341126170468e+76"), "no run of digits: '1.0467"),
        (a_line(token_id="0x1f"), "no run of digits"),
        (a_line(token_id=""), "no run of digits: ''"),
        (a_line(token_id="٣"), "no run of digits"),
        (a_line(token_id=104673411261704680), "token_id"),
        (a_line(token_id=1.0467341126170468e76), "token_id"),
        (a_line(timestamp="2026-01-01 UTC"), "no time of day"),
        (a_line(side="HOLD"), "side"),
        (a_line(price="much"), "price"),
        (a_line(tx_hash=""), "tx_hash"),
        (a_line(wallet_address="0x" + "1" * 40), "of another wallet: '0x1111"),
    ],
)
def test_a_line_that_is_no_trade_of_the_wallet_is_named(tmp_path: Path, line: bytes, problem: str):
    store, file = stored(tmp_path, a_line() + b"\n\n" + line + b"\n")
    found = inspect(store, file, WALLET)
    assert "line 3 is" in found.problem
    assert problem in found.problem


def test_line_ends_of_another_system_and_a_missing_last_one_do_not_matter(tmp_path: Path):
    store, file = stored(tmp_path, a_line() + b"\r\n\r\n" + a_line(id="0x2"))
    found = inspect(store, file, WALLET)
    assert (found.rows, found.problem) == (2, "")


def test_the_mark_that_an_editor_puts_in_front_of_a_file_is_no_part_of_its_first_line(
    tmp_path: Path,
):
    marked = b"\xef\xbb\xbf" + old_file(TRADES)
    store, file = stored(tmp_path, marked)
    file = inspect(store, file, WALLET)
    assert (file.rows, file.problem) == (400, "")
    assert adopt(store, WALLET, Believed(file, END), []).rows == 400
    assert store.read(NAME) == marked


def test_names_in_any_case_are_the_wallets_and_others_are_nobodys():
    assert parse_old_name(f"trades/{upper(WALLET)}.jsonl") == WALLET
    for name in (
        f"trades/{WALLET}.jsonl.gz",
        f"other/{WALLET}.jsonl",
        "trades/0x1.jsonl",
        NAME[7:],
    ):
        assert parse_old_name(name) is None


def test_a_whales_file_is_cut_into_segments_and_every_trade_arrives_once(tmp_path: Path):
    store, file = stored(tmp_path, old_file(TRADES[::-1]))
    file = inspect(store, file, WALLET)
    assert (file.rows, file.last, file.problem) == (400, END - 1, "")
    adopted = adopt(store, WALLET, Believed(file, END), [], segment_bytes=2000)
    assert len(adopted.segments) > 1
    assert whole_until(s.span for s in adopted.segments) == END
    assert adopted.newer == 0
    assert sum(segment.rows for segment in adopted.segments) == adopted.rows == 400
    assert {segment.source for segment in adopted.segments} == {"checkpoint"}
    payload = b"".join(gzip.decompress(store.read(s.name)) for s in adopted.segments)
    table = table_of(payload)
    assert table["id"].n_unique() == len(table) == 400
    assert set(table["source"]) == {"checkpoint"}
    assert sorted(table["tx_hash"]) == sorted(trade.tx_hash for trade in TRADES)
    assert set(table["order_hash"]) == {trade.order_hash for trade in TRADES}
    assert store.read(NAME) == old_file(TRADES[::-1]), "the old file was touched"


def test_what_lies_behind_the_bound_is_left_to_be_fetched(tmp_path: Path):
    store, file = stored(tmp_path, old_file(TRADES))
    file = inspect(store, file, WALLET)
    bound = TRADES[100].timestamp
    adopted = adopt(store, WALLET, Believed(file, bound), [])
    assert adopted.newer == sum(trade.timestamp >= bound for trade in TRADES)
    assert whole_until(s.span for s in adopted.segments) == bound
    assert adopted.rows == sum(trade.timestamp < bound for trade in TRADES)


def test_only_what_the_store_lacks_is_taken_from_the_file(tmp_path: Path):
    store, file = stored(tmp_path, old_file(TRADES))
    file = inspect(store, file, WALLET)
    middle = TRADES[200].timestamp
    first = adopt(store, WALLET, Believed(file, middle), [])
    spans = [segment.span for segment in first.segments]
    second = adopt(store, WALLET, Believed(file, END), spans)
    assert [segment.span for segment in second.segments] == [*spans, Interval(middle, END)]
    assert first.rows + second.rows == 400
    behind = [Interval(END + 5, END + 9)]
    store.create(f"trades/{WALLET}/{END + 5:010d}-{END + 9:010d}.jsonl.gz", gzip.compress(b""))
    third = adopt(store, WALLET, Believed(file, END), [*spans, Interval(middle, END), *behind])
    assert (third.rows, third.newer, whole_until(s.span for s in third.segments)) == (0, 1, END)


def test_a_file_that_changed_since_it_was_believed_is_not_adopted(tmp_path: Path):
    store, file = stored(tmp_path, old_file(TRADES[:-1]))
    believed = Believed(OldFile(name=NAME, size=file.size, rows=400), END)
    with pytest.raises(ContractBroken, match="has changed: 399 rows"):
        adopt(store, WALLET, believed, [])
    assert [item.name for item in store.list("trades/")] == [NAME]


def test_a_transaction_with_two_times_is_not_believed(tmp_path: Path):
    moved = a_line(timestamp="2022-01-01 00:00:00")
    store, file = stored(tmp_path, a_line() + b"\n" + moved + b"\n")
    assert "two times" in inspect(store, file, WALLET).problem


@pytest.mark.parametrize("other", ["id", "order_hash"])
def test_an_order_that_is_there_twice_speaks_against_the_file(tmp_path: Path, other: str):
    """The old job kept one line of each order, so it did not write such a file."""
    order = "0x" + "7A" * 32
    first = a_line(id=None, order_hash=order)
    second = a_line(**{"id": None, other: order.lower()}, tx_hash="0x9", price=0.5)
    store, file = stored(tmp_path, first + b"\n" + second + b"\n")
    told = inspect(store, file, WALLET).problem
    assert told == f"the line at byte {len(first) + 1} repeats an order"


def test_lines_without_an_order_of_their_own_repeat_none(tmp_path: Path):
    lines = [a_line(id=None), a_line(id=TRADES[0].tx_hash.upper().replace("X", "x"))]
    store, file = stored(tmp_path, b"\n".join(lines))
    found = inspect(store, file, WALLET)
    assert (found.rows, found.problem) == (2, "")


def test_a_disk_that_cannot_be_read_is_an_error_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    store, file = stored(tmp_path, old_file(TRADES))
    monkeypatch.setattr(Path, "open", lambda *_: Broken())
    with pytest.raises(StoreError, match=rf"cannot read .*{WALLET}.jsonl: Input/output error"):
        inspect(store, file, WALLET)
