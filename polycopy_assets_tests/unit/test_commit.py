"""What a record says of its segments can be read back, and is small."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polycopy_assets.errors import PolycopyError
from polycopy_assets.record.commit import encode
from polycopy_assets.trades.interval import Interval
from polycopy_assets.trades.segment import Segment
from polycopy_assets_tests.of_trades import decode

WALLET = "0x" + "a" * 40


@st.composite
def segments(draw: st.DrawFn) -> list[Segment]:
    """Segments with or without gaps, overlaps, trades, digests and sources."""
    found: list[Segment] = []
    end = 0
    for _ in range(draw(st.integers(0, 20))):
        start = max(0, end + draw(st.sampled_from([0, 0, 0, 5, -5])))
        until = max(start, end) + draw(st.integers(1, 10**8))
        claim = Interval(max(start, end) if start < end else start, until)
        rows = draw(st.integers(0, 10**6))
        first, last = sorted(draw(st.integers(claim.start, until - 1)) for _ in range(2))
        found.append(
            Segment.of_claim(
                WALLET,
                Interval(start, until),
                claim,
                folder="trades/",
                rows=rows,
                size=draw(st.integers(20, 2**32 - 1)),
                crc32c=f"{draw(st.integers(0, 2**32 - 1)):08x}",
                first=first if rows else None,
                last=last if rows else None,
                source=draw(st.sampled_from([None, "polymarket", "dome", "checkpoint"])),
                digest=f"{draw(st.integers(0, 2**64 - 1)):016x}"
                if rows and draw(st.booleans())
                else None,
            )
        )
        end = until
    return found


@given(segments(), st.integers(1, 2**32))
def test_what_is_recorded_is_read_back(every: Sequence[Segment], until: int):
    found = decode(WALLET, encode(every, until))
    assert found.segments == tuple(every)
    assert found.covered_until == until


def test_a_usual_segment_costs_44_bytes():
    every = [
        Segment(
            folder="trades/",
            wallet=WALLET,
            start=number * 1000,
            until=(number + 1) * 1000,
            rows=7,
            size=99,
            crc32c="00000001",
            first=number * 1000,
            last=number * 1000 + 5,
            source="polymarket",
            digest="0123456789abcdef",
        )
        for number in range(16)
    ]
    head = len("2 16000") + len(",a=polymarket")
    assert len(encode(every, 16_000)) == head + 16 * 44


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "x 5",
        "1 5",
        "-2 5",
        "02 5",
        "2 x",
        "2 5 short",
        "2 5 " + "!" * 43,
        "2 5 " + "A" * 43 + ",z=1",
        "2 5 " + "A" * 43 + ",s=x",
    ],
)
def test_a_damaged_record_is_refused(text: str):
    with pytest.raises(PolycopyError, match="is damaged"):
        decode(WALLET, text)


def test_a_record_of_a_newer_version_is_named():
    with pytest.raises(PolycopyError, match=r"newer version of polycopy \(form 3\)"):
        decode(WALLET, "3 5")
