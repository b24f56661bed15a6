"""What the gate accepts is exactly what the table gets, whatever JSON a source sends."""

import gzip
import json
from datetime import UTC
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import dome_row, v2_row
from polycopy_assets.errors import ContractBroken
from polycopy_assets.feeds.trades.frame import table_rows
from polycopy_assets.feeds.trades.shapes import SHAPES, guess_source
from polycopy_assets.sources.rows import (
    NAMED_FIELDS,
    OTHER_FIELDS,
    decode_page,
    read_rows,
)
from polycopy_assets.trades.cutter import Cutter
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.odd_json import DEEPEST, UNREADABLE, readable, tame
from polycopy_assets.trades.shapes import CHECKPOINT
from polycopy_assets_tests.of_trades import columns_of, read_payload, served_frame

WORLD = generate(3, 1, whales=1, whale_trades=40)
TRADE = WORLD.truth(WORLD.wallets()[0])[0]
WALLET = TRADE.wallet.lower()
EVER = Interval(0, 9_999_999_999)
ROWS = {"polymarket": v2_row(TRADE), "dome": dome_row(TRADE)}
SOURCES = sorted(ROWS)


class _Page(msgspec.Struct):
    rows: list[msgspec.Raw]


def raw(source: str, *extra: str, **changed: str) -> bytes:
    """A row as JSON text: fields `changed` to other JSON texts, `extra` members at its end."""
    members = {name: json.dumps(value) for name, value in ROWS[source].items()} | changed
    texts = [f"{json.dumps(name)}:{value}" for name, value in members.items()]
    return ("{" + ",".join([*texts, *extra]) + "}").encode(errors="surrogatepass")


def gate(source: str, row: bytes) -> Any:
    """What the gate makes of a page of one row; raises ContractBroken."""
    try:
        page = readable(b'{"rows":[' + row + b"]}")
    except UNREADABLE as error:
        raise ContractBroken(str(error)) from error
    return read_rows(SHAPES.of(source), decode_page(page, _Page).rows)


def table(source: str, row: bytes) -> dict[str, Any]:
    """The row of the table, by way of a page, a segment and a frame."""
    (row_read,) = gate(source, row).rows
    cutter = Cutter(row_read.timestamp + 1, source)
    cutter.add(row_read)
    found = read_payload(cutter.finish(0).payload, row_read.wallet, EVER)
    assert found.source == source
    (made,) = table_rows(served_frame(source, columns_of(source, found.rows))).to_dicts()
    return made


def seen(source: str, row: bytes) -> dict[str, Any]:
    """The same values as the gate has seen them."""
    gate(source, row)
    looked: Any = SHAPES.of(source).row(row)
    return {
        "wallet_address": looked.wallet.lower(),
        "timestamp": looked.timestamp,
        "side": looked.side,
        "price": looked.price,
        "shares_normalized": looked.shares,
        "token_id": looked.token_id,
        "token_label": looked.token_label,
        "condition_id": looked.condition_id,
        "tx_hash": looked.tx_hash,
        "order_hash": getattr(looked, "order_hash", None),
        "taker": getattr(looked, "taker", None),
        "market_slug": looked.market_slug,
        "title": looked.title,
        "source": source,
    }


NAMES = sorted(
    {*SHAPES.of("polymarket").listed, *SHAPES.of("dome").listed, *SHAPES.of(CHECKPOINT).listed}
)
NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["1e400", "-1e400", "1e-400", "9" * 400, "-0", "-0.0", "1E5", "0.1e1"]),
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])).map(json.dumps),
    st.text(st.characters()).map(json.dumps),
    st.sampled_from([r'"\ud83d"', r'"\ude00"', r'"\ud83d\ude00"', r'"\\ud83d"', r'"\u0000"', '""']),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS, st.sampled_from(["null", "true", "false"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda each: "[" + ",".join(each) + "]"),
        st.lists(st.tuples(TEXTS, inner), max_size=3).map(
            lambda each: "{" + ",".join(f"{name}:{value}" for name, value in each) + "}"
        ),
    ),
    max_leaves=6,
)
NESTED = st.integers(1, 4000).map(lambda depth: "[" * depth + "]" * depth)


def members(names: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    pairs = st.tuples(names.map(json.dumps), st.one_of(VALUES, NESTED))
    return st.lists(pairs.map(lambda pair: f"{pair[0]}:{pair[1]}"), max_size=3)


@pytest.mark.parametrize("source", SOURCES)
@given(extra=members(st.one_of(st.sampled_from(NAMES), st.text(max_size=5))))
@example(extra=['"unlisted":1e400'])
@example(extra=['"log_index":"seven"', '"shares_normalized":"many"'])
@example(extra=['"tx_hash":"0xother"', '"user":"0xother"', '"size":7', '"polycopy_source":"x"'])
@example(extra=['"side":"SELL"', '"side":"BUY"'])
@example(extra=['"timestamp":1', '"timestamp":2'])
@example(extra=['"unlisted":' + "[" * 5000 + "]" * 5000])
@example(extra=['"title":"\udcff"'])
@example(extra=[r'"bio":"\ud83d"', r'"title":"\ud83d"'])
@settings(max_examples=300, deadline=None)
def test_the_table_gets_exactly_what_the_gate_has_accepted(source: str, extra: list[str]):
    row = raw(source, *extra)
    try:
        expected = seen(source, row)
    except ContractBroken:
        return  # refused whole, by name
    if not 0 <= expected["timestamp"] < EVER.until - 1 or expected["wallet_address"] != WALLET:
        return  # the walk refuses it
    made = table(source, row)
    made["timestamp"] = int(made["timestamp"].replace(tzinfo=UTC).timestamp())
    assert {name: made[name] for name in expected} == expected


@pytest.mark.parametrize("source", SOURCES)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_field_that_nobody_listed_is_kept_and_counted_and_changes_nothing(
    source: str, data: st.DataObject
):
    listed = SHAPES.of(source).listed
    others = st.sampled_from(sorted(set(NAMES) - listed))
    names = st.one_of(others, st.text(max_size=5).filter(lambda name: name not in listed))
    extra = data.draw(members(names))
    row = raw(source, *extra)
    read = gate(source, row)
    assert read.rows[0].raw == row, "the row is not as it was served"
    assert bool(read.unknown_fields) == bool(extra)
    assert table(source, row) == table(source, raw(source))


@pytest.mark.parametrize("source", SOURCES)
def test_text_that_is_no_utf8_in_a_field_that_is_used_is_refused_by_name(source: str):
    row = raw(source, title='"XX"').replace(b"XX", b"\xff\xfe")
    with pytest.raises(ContractBroken, match="row 0"):
        gate(source, row)


@pytest.mark.parametrize("source", SOURCES)
def test_a_missing_label_is_a_null_in_the_table_and_a_warning(source: str):
    label = {"polymarket": "outcome", "dome": "token_label"}[source]
    row = raw(source, title="null", **{label: "null"})
    assert gate(source, row).oddities == {"no title": 1, f"no {label}": 1}
    made = table(source, row)
    assert (made["title"], made["token_label"]) == (None, None)


@pytest.mark.parametrize(
    ("field", "text"),
    [("token_id", "null"), ("side", "null"), ("price", '"0.5"'), ("timestamp", "1.5")],
)
@pytest.mark.parametrize("source", SOURCES)
def test_ids_side_size_price_and_time_stay_strict(source: str, field: str, text: str):
    with pytest.raises(ContractBroken, match=field):
        gate(source, raw(source, **{field: text}))


def test_what_is_possible_but_strange_is_warned_of():
    read = gate("polymarket", raw("polymarket", price="1.5", size="-3"))
    assert read.oddities == {"price above 1": 1, "size not above 0": 1}
    assert table("polymarket", raw("polymarket", price="1.5", size="-3"))["price"] == 1.5


def test_a_source_that_makes_up_names_does_not_fill_the_record():
    rows = [msgspec.Raw(raw("polymarket", f'"made_up_{n}":1')) for n in range(100)]
    unknown = read_rows(SHAPES.of("polymarket"), rows).unknown_fields
    assert len(unknown) == NAMED_FIELDS + 1
    assert unknown[OTHER_FIELDS] == 100 - NAMED_FIELDS


@given(st.one_of(VALUES, NESTED, st.text().map(lambda text: f'"{text}')))
@example('{"a":' * 5000)
@example('"' + '\\"' * 50_000)
@settings(max_examples=200, deadline=None)
def test_taming_keeps_the_length_and_what_can_be_read_anyway(text: str):
    body = text.encode(errors="surrogatepass")
    tamed = tame(body)
    assert len(tamed) == len(body)
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    if text.count("[") + text.count("{") <= DEEPEST:
        assert msgspec.json.decode(tamed) == plain


@pytest.mark.parametrize("source", [*SOURCES, CHECKPOINT])
def test_a_segment_says_who_served_it_and_every_reader_of_gzip_reads_it(source: str):
    cutter = Cutter(10, source)
    payload = cutter.finish(0).payload
    assert read_payload(payload, WALLET, Interval(0, 10)).source == source
    assert gzip.decompress(payload) == b""


@pytest.mark.parametrize("source", SOURCES)
def test_an_older_segment_is_read_by_the_shape_of_its_rows(source: str):
    assert guess_source(raw(source, '"surprise":1') + b"\n") == source


def test_an_older_segment_that_two_sources_could_have_served_is_not_guessed_at():
    both = msgspec.json.encode(v2_row(TRADE) | dome_row(TRADE))
    with pytest.raises(ContractBroken, match="polymarket and dome"):
        guess_source(both + b"\n")


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "0 bytes"),
        (b"no gzip", "not a gzip file"),
        (gzip.compress(raw("polymarket"))[:-9], "not a gzip file"),
        (gzip.compress(raw("polymarket") + b"\nrubbish\n"), "line 2"),
        (gzip.compress(raw("polymarket", proxy_wallet=f'"{WALLET[:-1]}x"')), "another wallet"),
        (gzip.compress(raw("polymarket", timestamp="10")), "another time"),
    ],
)
def test_what_cannot_be_a_segment_is_said_to_be_none(payload: bytes, reason: str):
    with pytest.raises(ContractBroken, match=reason):
        read_payload(payload, WALLET, Interval(0, 10))
