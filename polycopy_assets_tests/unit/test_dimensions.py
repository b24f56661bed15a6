"""What the source says of conditions: kept by version, in objects that are never rewritten."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from isal import igzip

from polycopy_assets import sources as sources_package
from polycopy_assets.dimensions.facts import (
    PARTS,
    Facts,
    Market,
    Resolution,
    Said,
    Token,
    answered,
    parse_condition,
)
from polycopy_assets.dimensions.objects import (
    Numbered,
    header_of,
    line,
    lines_of,
    pack,
    that_count,
)
from polycopy_assets.dimensions.tables import table
from polycopy_assets.errors import (
    ConfigurationError,
    ContractBroken,
    ObjectExists,
    ObjectUnreadable,
    StoreError,
)
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.settings.parse import DEFAULT_ROUTE_LIMITS, ROUTES, parse_route_limits
from polycopy_assets.store.dimensions import FOLD_AFTER, FactsInStore
from polycopy_assets.store.local import LocalStore

EVERY = frozenset(PARTS)
ONE, OTHER = f"0x{1:064x}", f"0x{2:064x}"
OPEN = Said(
    markets={ONE: Market(question="Will it?", tags=("a", "b"), fee_rate=Decimal("0.05"))},
    resolutions={ONE: Resolution(status="proposed")},
    tokens={
        ONE: (
            Token(token_id="11", outcome_index=0, outcome="Yes"),
            Token(token_id="12", outcome_index=1, outcome="No"),
        )
    },
    at=1_000,
)
ENDED = Said(
    markets={ONE: msgspec.structs.replace(OPEN.markets[ONE], closed=True, closed_time=1_900)},
    resolutions={
        ONE: Resolution(
            status="resolved", payouts=(Decimal("0.5"), Decimal("0.5")), resolved_at=1_900
        )
    },
    tokens={
        ONE: tuple(
            msgspec.structs.replace(token, resolved=True, final_price=Decimal("0.5"))
            for token in OPEN.tokens[ONE]
        )
    },
    at=2_000,
)


def first() -> Facts:
    found = answered(None, ONE, EVERY, OPEN)
    assert found is not None
    return found


def test_what_is_final_is_not_asked_again_part_by_part():
    facts = first()
    assert facts.open_parts == EVERY
    for part in PARTS:
        ended = answered(facts, ONE, {part}, ENDED)
        assert ended is not None
        assert ended.open_parts == EVERY - {part}
        assert ended.since == ENDED.at
    whole = answered(facts, ONE, EVERY, ENDED)
    assert whole is not None
    assert whole.open_parts == frozenset()


def test_a_miss_takes_nothing_back_and_the_same_again_is_no_news():
    facts = first()
    assert answered(facts, ONE, EVERY, Said(at=9_000)) is None
    assert answered(facts, ONE, EVERY, OPEN._replace(at=9_000)) is None
    nobody = answered(None, OTHER, EVERY, Said(at=5))
    assert nobody is not None
    assert (nobody.known, nobody.open_parts, nobody.since) == (False, EVERY, 5)
    assert answered(nobody, OTHER, EVERY, Said(at=6)) is None


def test_half_an_answer_takes_no_token_back_and_ends_nothing():
    yes, no = ENDED.tokens[ONE]
    yes = msgspec.structs.replace(yes, opposite_token_id=no.token_id)
    no = msgspec.structs.replace(no, opposite_token_id=yes.token_id)
    for half, other in ((yes, no), (no, yes)):
        started = answered(None, ONE, EVERY, Said(tokens={ONE: (half,)}, at=5))
        assert started is not None
        assert "tokens" in started.open_parts, "the other token is known by name alone"
        whole = answered(started, ONE, {"tokens"}, Said(tokens={ONE: (other,)}, at=6))
        assert whole is not None
        assert whole.tokens == (yes, no)
        assert "tokens" not in whole.open_parts
    after = answered(first(), ONE, {"tokens"}, Said(tokens={ONE: (yes,)}, at=2_000))
    assert after is not None
    assert after.tokens == (yes, OPEN.tokens[ONE][1])


@pytest.mark.parametrize(
    ("payouts", "final"),
    [((), False), ((0, 0), False), ((0,), False), ((0, 1), True), ((1,), True)],
)
def test_a_resolution_by_which_no_outcome_pays_is_not_final(
    payouts: tuple[int, ...], *, final: bool
):
    found = Resolution(status="resolved", payouts=tuple(map(Decimal, payouts)))
    said = answered(None, ONE, EVERY, Said(resolutions={ONE: found}, at=5))
    assert said is not None
    assert ("resolution" not in said.open_parts) == final


@pytest.mark.parametrize("at", [0, 999, 1_000])
def test_time_never_runs_backwards_from_one_version_to_the_next(at: int):
    later = answered(first(), ONE, EVERY, ENDED._replace(at=at))
    assert later is not None
    assert later.since == OPEN.at + 1


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("0x" + "AB" * 32, "0x" + "ab" * 32),
        ("0x" + "AB" * 31, "0x" + "ab" * 31 + "00"),
        ("0x03" + "ab" * 16 + "00" * 14, "0x03" + "ab" * 16 + "00" * 15),
        ("0x03" + "ab" * 16 + "00" * 14 + "01", "0x03" + "ab" * 16 + "00" * 15),
        ("0x03" + "ab" * 30 + "01", "0x03" + "ab" * 30 + "01"),
        ("0x" + "ab" * 30, None),
        ("0x" + "ag" * 32, None),
        ("ab" * 32, None),
        (f"{ONE}\n", None),
        ("", None),
    ],
)
def test_a_condition_is_32_bytes_or_31_and_no_outcome_and_a_combo_is_one_condition(
    text: str, parsed: str | None
):
    assert parse_condition(text) == parsed


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_a_row_for_each_different_thing_that_was_said_and_the_time_it_held():
    said = first()
    priced = answered(said, ONE, {"tokens"}, ENDED)
    assert priced is not None
    whole = answered(priced, ONE, EVERY, ENDED._replace(at=3_000))
    assert whole is not None
    nobody = Facts(condition=OTHER, since=7)
    every = [said, nobody, priced, whole]

    tokens = table("tokens", every)
    columns = ("token_id", "outcome", "final_price", "valid_from", "valid_until")
    assert tokens.select(columns).rows() == [
        ("11", "Yes", None, at(1_000), at(2_000)),
        ("11", "Yes", Decimal("0.5"), at(2_000), None),
        ("12", "No", None, at(1_000), at(2_000)),
        ("12", "No", Decimal("0.5"), at(2_000), None),
    ]
    markets = table("markets", every)
    columns = ("condition_id", "known", "tags", "payout_1", "valid_from", "valid_until")
    assert markets.select(columns).rows() == [
        (ONE, True, '["a","b"]', None, at(1_000), at(3_000)),
        (ONE, True, '["a","b"]', Decimal("0.5"), at(3_000), None),
        (OTHER, False, None, None, at(7), None),
    ]
    assert table("tokens", []).rows() == table("markets", []).rows() == []


def test_the_objects_that_count_are_the_last_whole_one_and_later_changes():
    names = [
        "dimensions/00000001-change.jsonl.gz",
        "dimensions/00000002-change.jsonl.gz",
        "dimensions/00000003-whole.jsonl.gz",
        "dimensions/00000004-change.jsonl.gz",
        "dimensions/00000005-other.jsonl.gz",
        "dimensions/tables/00000004-tokens.parquet",
        "dimensions/6-change.jsonl.gz",
    ]
    assert that_count(names) == [Numbered(3, "whole"), Numbered(4, "change")]
    assert that_count(names[:2]) == [Numbered(1, "change"), Numbered(2, "change")]
    assert that_count([]) == []


def test_a_damaged_object_is_an_error_and_so_is_one_of_a_newer_version():
    whole = pack([line(first())], 3, 1)
    assert header_of(whole, "x").batch == 3
    assert list(lines_of(whole, "x")) == [line(first())]
    assert pack([line(first())], 3, 1) == whole
    text = igzip.decompress(whole)
    for damaged in (
        whole[:-9],
        b"",
        b"no gzip",
        igzip.compress(b"[]\n"),
        igzip.compress(text.partition(b"\n")[0] + b"\n"),
        igzip.compress(text + text),
    ):
        with pytest.raises(
            ContractBroken, match=r"x is damaged: .*; delete the folder dimensions/"
        ):
            list(lines_of(damaged, "x"))
    with pytest.raises(ObjectUnreadable, match="newer polycopy"):
        header_of(igzip.compress(b'{"version":2,"more":[]}\nwhatever\n'), "x")


def test_a_byte_that_has_changed_is_noticed_wherever_it_is():
    lines = [line(facts) for facts in changes(30)]
    whole = pack(lines, 3, len(lines))
    said: list[str] = []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        try:
            assert list(lines_of(bytes(damaged), "x")) == lines, f"byte {place} was not noticed"
        except (ContractBroken, ObjectUnreadable) as error:
            said.append(str(error))
    assert all(text.startswith("x ") for text in said)
    assert len(said) > len(whole) - 10, "only a time in the header of gzip says nothing"


def changes(number: int) -> Iterable[Facts]:
    """Versions of one condition, each with another question."""
    facts = first()
    yield facts
    for place in range(1, number):
        said = Said(markets={ONE: Market(question=str(place))}, at=1_000 + place)
        new = answered(facts, ONE, {"market"}, said)
        assert new is not None
        facts = new
        yield facts


def test_facts_in_a_store_are_folded_and_none_is_lost(tmp_path: Path):
    store = LocalStore(tmp_path)
    every = list(changes(FOLD_AFTER + 2))
    facts = FactsInStore(store)
    for place, each in enumerate(every):
        facts.add([each], place)
        facts.fold()
        assert list(FactsInStore(store).versions()) == every[: place + 1]
    names = [item.name for item in store.list("dimensions/")]
    assert names == [
        f"dimensions/{FOLD_AFTER + 2:08d}-whole.jsonl.gz",
        f"dimensions/{FOLD_AFTER + 3:08d}-change.jsonl.gz",
    ]
    again = FactsInStore(store)
    assert (again.batch, again.number, again.open) == (FOLD_AFTER + 1, FOLD_AFTER + 3, [ONE])
    assert again.get(ONE) == every[-1]
    ended = answered(every[-1], ONE, EVERY, ENDED)
    assert ended is not None
    again.add([ended], 99)
    last = FactsInStore(store)
    assert (last.open, ONE in last, len(last), last.get(ONE)) == ([], True, 1, None)


def test_a_kill_before_the_replaced_objects_are_deleted_changes_nothing(tmp_path: Path):
    store = LocalStore(tmp_path)
    facts = FactsInStore(store)
    every = list(changes(FOLD_AFTER + 1))
    kept: dict[str, bytes] = {}
    for each in every:
        facts.add([each], 1)
    for item in store.list("dimensions/"):
        kept[item.name] = store.read(item.name)
    facts.fold()
    for name, data in kept.items():
        store.create(name, data)
    after = FactsInStore(store)
    assert list(after.versions()) == every
    after.fold()
    assert len(list(store.list("dimensions/"))) == 1


@pytest.mark.parametrize("kind", ["change", "whole"])
def test_what_would_not_be_found_is_not_written(tmp_path: Path, kind: str):
    store = LocalStore(tmp_path)
    FactsInStore(store).add([first()], 1)
    (written,) = [store.read(item.name) for item in store.list("dimensions/")]
    store.create(f"dimensions/99999999-{kind}.jsonl.gz", written)
    facts = FactsInStore(store)
    with pytest.raises(StoreError, match=r"dimensions/ has no number left: .* move it elsewhere"):
        facts.add([Facts(condition=OTHER, since=1)], 2)
    assert (len(facts), facts.batch) == (1, 1)
    assert len(list(store.list("dimensions/"))) == 2


def test_of_two_that_write_one_number_one_fails(tmp_path: Path):
    store = LocalStore(tmp_path)
    one, other = FactsInStore(store), FactsInStore(store)
    one.add([first()], 1)
    with pytest.raises(ObjectExists):
        other.add([Facts(condition=OTHER, since=1)], 1)


def test_budgets_of_routes():
    found = parse_route_limits(DEFAULT_ROUTE_LIMITS)
    assert found["/markets/keyset"] == ((300, 10.0),)
    named = parse_route_limits("/v2/trades=1/2,3/4; /v2/tokens=5/6")
    assert named == {**found, "/v2/trades": ((1, 2.0), (3, 4.0)), "/v2/tokens": ((5, 6.0),)}
    assert parse_route_limits("") == found


def test_the_routes_that_can_have_a_budget_are_those_that_are_asked():
    asked = {
        path for feed in FEEDS.values() for each in feed.endpoints.values() for path in [each.path]
    }
    sources = Path(sources_package.__file__).parent
    for file in sources.glob("*.py"):
        asked.update(re.findall(r'"(/[a-z0-9/-]+)"', file.read_text()))
    assert set(ROUTES) == asked


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/v2/token", "polycopy asks no route '/v2/token', did you mean /v2/tokens?"),
        ("/V2/Tokens", "did you mean /v2/tokens?"),
        ("/markets", "did you mean /markets/keyset?"),
        ("/zzz", "it asks /v2/trades, /v2/activity, "),
    ],
)
def test_a_budget_for_a_route_that_is_never_asked_is_refused_with_the_nearest(path: str, said: str):
    with pytest.raises(ConfigurationError) as refused:
        parse_route_limits(f"/v2/tokens=1/2;{path}=3/4")
    assert str(refused.value).startswith("POLYCOPY_ROUTE_LIMITS=")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["/a", "a=1/2", "/a=0/2", "/a=1/2;/a=3/4", "/a b=1/2", "=1/2"])
def test_a_budget_that_cannot_be_read_is_named(text: str):
    with pytest.raises(ConfigurationError, match="POLYCOPY_ROUTE_LIMITS"):
        parse_route_limits(text)
