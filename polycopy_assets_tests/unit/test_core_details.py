"""The core once more: what a segment's size, a claim and a transaction's case come to."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from polycopy_assets.demo.generate import generate
from polycopy_assets.demo.world import v2_row
from polycopy_assets.errors import TransientError
from polycopy_assets.trades.cutter import Cutter
from polycopy_assets.trades.page import Row
from polycopy_assets.trades.segment import Segment, data_version
from polycopy_assets_tests.rows import as_lines, table_of
from polycopy_assets_tests.unit.test_walk import SPAN, WALLET, Memory, collect, row

WORLD = generate(3, 1, whales=1, whale_trades=40)
TRADE = v2_row(WORLD.truth(WORLD.wallets()[0])[0])


def frame(rows: list[dict[str, Any]]) -> Any:
    return table_of(as_lines(rows))


@given(st.lists(st.integers(100, 120), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_the_smallest_segment_size_gives_each_second_a_segment_of_its_own(times: list[int]):
    rows = [row(t, n) for n, t in enumerate(times)]
    drafts, error = collect(Memory(rows, 50), segment_bytes=1)
    assert error is None
    assert len(drafts) == len(set(times))
    assert all(draft.first == draft.last for draft in drafts)


def test_an_outage_in_the_first_second_keeps_nothing():
    def change(number: int, page: Any) -> Any:
        if number == 2:
            raise TransientError("down")
        return page

    drafts, error = collect(Memory([row(150, 2 * n) for n in range(6)], 3, change))
    assert isinstance(error, TransientError)
    assert drafts == []
    assert Cutter(SPAN.until, "polymarket").salvage() is None


def test_the_second_that_an_outage_cut_in_two_is_not_covered():
    cutter = Cutter(SPAN.until, "polymarket")
    for item in (row(150, 0), row(140, 2), row(140, 4)):
        assert cutter.add(item) is None
    draft = cutter.salvage()
    assert draft is not None
    assert (draft.span, draft.rows, draft.first) == ((141, SPAN.until), 1, 150)


def test_the_same_rows_are_the_same_bytes():
    rows = [Row(WALLET, 150, "0x1", b'{"a":1}'), Row(WALLET, 140, "0x2", b'{"a":2}')]
    payloads = {collect(Memory(rows))[0][0].payload for _ in range(2)}
    assert len(payloads) == 1


def test_wallet_and_transaction_count_alike_in_any_case():
    loud = TRADE | {
        "proxy_wallet": TRADE["proxy_wallet"].upper(),
        "transaction_hash": TRADE["transaction_hash"].upper(),
    }
    found = frame([TRADE, loud])
    quiet = TRADE["transaction_hash"].lower()
    assert found["wallet_address"].unique().to_list() == [TRADE["proxy_wallet"].lower()]
    assert found["id"].to_list() == [f"{quiet}-0", f"{quiet}-1"]


def test_two_wallets_of_one_transaction_are_numbered_apart():
    other = TRADE | {"proxy_wallet": "0x" + "9" * 40}
    assert frame([TRADE, other])["id"].n_unique() == 1


def test_a_data_version_tells_where_a_claim_starts_and_how_many_rows_it_has():
    def version(**changes: Any) -> str:
        base = Segment(
            folder="trades/", wallet=WALLET, start=0, until=9, rows=2, size=9, crc32c="00000000"
        )
        other = Segment(
            folder="trades/", wallet=WALLET, start=9, until=20, rows=5, size=9, crc32c="00000001"
        )
        return data_version([msgspec.structs.replace(base, **changes), other])

    assert version(claim_start=3) != version()
    assert version(claim_start=0) == version()
    # The digest itself has to tell, not just the sum in front of it.
    assert version(rows=3).rsplit("-", 1)[1] != version().rsplit("-", 1)[1]
