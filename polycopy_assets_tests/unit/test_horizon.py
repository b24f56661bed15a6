"""Until when a source can be believed: by its clock and its own word, and how old that is."""

import re
from email.utils import formatdate
from typing import Any

import httpx
import msgspec
import pytest

from polycopy_assets.errors import ContractBroken, SourceError, TransientError
from polycopy_assets.sources.clock import age_of, date_of
from polycopy_assets.sources.http import Answer
from polycopy_assets.trades.horizon import MOST_DIFFERENCE, TOLERANCE, Freshness, beyond
from polycopy_assets_tests.of_trades import freshness, horizon

NOW = 1_900_000_000
HOUR = 3600


def status(**data: Any) -> Answer:
    """An answer of `/v2/status` at `NOW`."""
    return Answer(msgspec.json.encode({"data": data}), 1, "t", date=NOW)


def feed(lag: float, **others: Any) -> dict[str, Any]:
    return {"mechanisms": [{"mechanism": "activity_feed", "age_seconds": lag}], **others}


@pytest.mark.parametrize(
    ("data", "lag", "age"),
    [
        ({"age_seconds": 3, "serving": feed(5)}, 5, 3),
        ({"age_seconds": 3, "serving": {"lag_seconds": 40}}, 40, 3),
        ({"age_seconds": 3, "serving": feed(5, lag_seconds=9000)}, 5, 3),
        (
            {"age_seconds": 3, "serving": {"mechanisms": {"activity_feed": {"age_seconds": 6}}}},
            6,
            3,
        ),
        (
            {
                "age_seconds": 0,
                "serving": {"mechanisms": [{"name": "activity_feed", "blocks_behind": 30}]},
            },
            60,
            0,
        ),
        (
            {
                "age_seconds": 0,
                "serving": feed(5),
                "ingestion": {"most_lagged": {"source": "ctf", "behind_max": 3600}},
            },
            7200,
            0,
        ),
        ({"age_seconds": 0, "serving": feed(5), "ingestion": None}, 5, 0),
        ({"age_seconds": 0, "serving": feed(5), "ingestion": {"most_lagged": None}}, 5, 0),
        ({"age_seconds": 0, "computed_at": NOW - 7200, "serving": feed(5)}, 5, 7200),
        ({"computed_at": (NOW - 50) * 1000, "serving": feed(5)}, 5, 50),
        ({"computed_at": "2030-03-17T17:46:30Z", "serving": feed(5)}, 5, 10),
        ({"age_seconds": 90, "computed_at": NOW, "serving": feed(5)}, 5, 90),
    ],
)
def test_the_lag_is_the_feeds_and_the_slowest_streams_and_the_age_comes_on_top(
    data: dict[str, Any], lag: float, age: float
):
    said = freshness(status(**data), margin=300)
    assert (said.lag, said.age) == (lag, age)
    assert horizon(said, now=NOW, max_lag=10**6).until == NOW - lag - age - 300


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"age_seconds": 0, "serving": {}}, "how far its trade feed lags"),
        ({"age_seconds": 0, "serving": {"lag_seconds": None}}, "how far its trade feed lags"),
        ({"serving": feed(5)}, "how old it is"),
        ({"computed_at": "yesterday", "serving": feed(5)}, "'yesterday'"),
        ({"age_seconds": "3", "serving": feed(5)}, "age_seconds"),
        ({"age_seconds": 0}, "serving"),
        (
            {"age_seconds": 0, "serving": feed(5), "ingestion": {"most_lagged": {}}},
            "behind_max",
        ),
    ],
)
def test_a_status_that_does_not_say_enough_is_an_error_and_not_a_lag_of_zero(
    data: dict[str, Any], reason: str
):
    with pytest.raises(SourceError, match=reason):
        freshness(status(**data), margin=300)


def test_the_lag_of_a_feed_without_mechanisms_is_that_of_the_slowest_and_never_zero():
    for others in ({"lag_seconds": 40}, feed(5, lag_seconds=40)):
        said = status(age_seconds=3, serving=others)
        assert freshness(said, margin=300, mechanisms=()).lag == 40
    with pytest.raises(SourceError, match="how far its trade feed lags"):
        freshness(status(age_seconds=3, serving=feed(5)), margin=300, mechanisms=())


HUGE = "1" + "0" * 400
"""An integer that no float holds; JSON may have it."""

STATUS = """{"data": {"age_seconds": 1, "computed_at": 1900000000, "serving": {"lag_seconds": 2,
"mechanisms": [{"name": "activity_feed", "age_seconds": 3, "blocks_behind": 4}]}, "ingestion":
{"most_lagged": {"source": "ctf", "block": 5, "behind_max": 6}}}}"""


@pytest.mark.parametrize(
    "field",
    ["age_seconds", "lag_seconds", "behind_max", "blocks_behind", "computed_at", "name"],
)
@pytest.mark.parametrize("value", [HUGE, f"-{HUGE}", "1e400", "true", '"many"', "[]"])
def test_a_number_that_does_not_fit_breaks_the_contract(field: str, value: str):
    fresh = freshness(Answer(STATUS.encode(), 1, "t", date=NOW), margin=300)
    assert (fresh.lag, fresh.age) == (12, 1)
    if field == "name":  # that of the trade feed itself
        text = STATUS.replace('"age_seconds": 3', f'"age_seconds": {value}')
    else:
        text = re.sub(f'"{field}": [0-9]+', f'"{field}": {value}', STATUS, count=1)
    assert text != STATUS
    with pytest.raises(ContractBroken):
        freshness(Answer(text.encode(), 1, "t", date=NOW), margin=300)


@pytest.mark.parametrize("value", ["-1", "1e300", "253402300800000", '"0001-01-01T00:00:00Z"'])
def test_a_moment_that_no_date_has_breaks_the_contract(value: str):
    text = STATUS.replace("1900000000", value)
    with pytest.raises(ContractBroken, match="which is no time"):
        freshness(Answer(text.encode(), 1, "t", date=NOW), margin=300)


def test_a_status_that_is_no_status_breaks_the_contract():
    with pytest.raises(ContractBroken):
        freshness(Answer(b"[]", 1, "t", date=NOW), margin=300)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"date": None}, "Date"),
        ({"date": NOW - 2 * HOUR}, "7,200 s ahead of"),
        ({"date": NOW + 2 * HOUR}, "7,200 s behind"),
        ({"date": NOW - MOST_DIFFERENCE - 1}, "301 s ahead of"),
        ({"date": NOW, "lag": HOUR + 1}, "POLYCOPY_MAX_LAG"),
        ({"date": NOW, "lag": 2000, "age": 2000}, "2,000 s old"),
        ({"date": NOW, "lag": 3 * 365 * 86_400}, "POLYCOPY_MAX_LAG"),
        ({"date": NOW, "lag": 1e12}, "POLYCOPY_MAX_LAG"),
        ({"date": NOW, "age": 1e300}, "POLYCOPY_MAX_LAG"),
    ],
)
def test_without_a_clock_and_a_feed_to_rely_on_there_is_no_horizon(
    said: dict[str, Any], reason: str
):
    with pytest.raises(TransientError, match=reason):
        horizon(Freshness(**said), now=NOW)


def test_a_cached_answer_has_an_older_clock_and_the_older_one_counts():
    found = horizon(Freshness(date=NOW - 200, cached=200, lag=5, margin=300), now=NOW)
    assert (found.until, found.clock_difference) == (NOW - 505, 0)


def test_a_feed_that_says_it_is_ahead_is_not_trusted_more_than_one_without_lag():
    found = horizon(Freshness(date=NOW, lag=-9, age=-9, margin=300), now=NOW)
    assert (found.until, found.lag, found.age) == (NOW - 300, 0, 0)


def test_coverage_is_doubtful_only_where_no_margin_explains_it():
    assert not beyond(NOW, NOW)
    assert not beyond(NOW + TOLERANCE, NOW)
    assert beyond(NOW + TOLERANCE + 1, NOW)


@pytest.mark.parametrize(
    ("headers", "date", "age"),
    [
        ({}, None, 0),
        ({"Date": formatdate(NOW, usegmt=True)}, NOW, 0),
        ({"Date": "Sun, 17 Mar 2030 17:46:40 -0000"}, NOW, 0),
        ({"Date": "Sun, 17 Mar 2030 17:46:40 GMT", "Age": "52"}, NOW, 52),
        ({"Date": "yesterday", "Age": "-3"}, None, 0),
        ({"Date": "Fri, 99 Foo 99999 99:99:99 GMT", "Age": "9" * 40}, None, 0),
    ],
)
def test_the_clock_of_an_answer_is_read_or_there_is_none(
    headers: dict[str, str], date: float | None, age: float
):
    given = httpx.Headers(headers)
    assert (date_of(given), age_of(given)) == (date, age)
