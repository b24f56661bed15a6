"""When to fetch, load and check: a situation in, a decision out."""

import pytest

from polycopy_assets.automation import policy
from polycopy_assets.automation.policy import Act, FetchSituation, LoadSituation, Wait

NOW = 1_800_000_000.0
IDLE = FetchSituation(due=3, waiting=0, exhausted=0, under_way=None)
NEW = LoadSituation(loaded=False, under_way=None, fetching=False, since=0.0)


def replace(situation, **changes):
    fields = {name: getattr(situation, name) for name in situation.__struct_fields__}
    return type(situation)(**{**fields, **changes})


def test_wallets_that_are_due_are_fetched_one_run_at_a_time():
    assert isinstance(policy.fetch(IDLE, NOW), Act)
    busy = policy.fetch(replace(IDLE, under_way="abc"), NOW)
    assert busy == Wait("run abc is fetching, or about to")


def test_who_waits_and_who_is_given_up_is_told_when_nothing_is_due():
    decision = policy.fetch(replace(IDLE, due=0, waiting=2, exhausted=5), NOW)
    assert isinstance(decision, Wait)
    assert "2 failed and wait" in decision.why
    assert "5 failed and are not tried again" in decision.why
    assert policy.fetch(replace(IDLE, due=0), NOW) == Wait("nothing to fetch")


@pytest.mark.parametrize(
    ("times", "seconds"), [(1, 60), (2, 300), (3, 900), (4, 1800), (5, 3600), (25, 3600)]
)
def test_a_source_that_is_down_is_left_alone_for_longer_and_longer(times: int, seconds: float):
    downs = [NOW - 60 * n for n in range(times)]
    down = replace(IDLE, empty_runs=downs)
    assert isinstance(policy.fetch(down, NOW + seconds - 1), Wait)
    assert isinstance(policy.fetch(down, NOW + seconds), Act)


def test_what_is_new_is_loaded_when_nothing_is_under_way():
    assert isinstance(policy.load(NEW, NOW), Act)
    assert isinstance(policy.load(replace(NEW, loaded=True), NOW), Wait)
    assert isinstance(policy.load(replace(NEW, under_way="abc"), NOW), Wait)


def test_a_long_fetch_is_loaded_from_every_quarter_of_an_hour():
    fetching = replace(NEW, fetching=True, since=NOW)
    assert isinstance(policy.load(fetching, NOW + 899), Wait)
    assert isinstance(policy.load(fetching, NOW + 900), Act)


def test_loading_that_fails_is_tried_again_ever_later_and_not_for_ever():
    waited = 0.0
    for times, wait in enumerate(policy.LOAD_WAITS, 1):
        failing = replace(NEW, failures=[NOW] * times)
        assert isinstance(policy.load(failing, NOW + wait - 1), Wait)
        assert isinstance(policy.load(failing, NOW + wait), Act)
        waited += wait
    exhausted = policy.load(
        replace(NEW, failures=[NOW] * (len(policy.LOAD_WAITS) + 1)), NOW + 10 * waited
    )
    assert isinstance(exhausted, Wait)
    assert "launch the job `load`" in exhausted.why


def test_a_table_that_needs_nothing_says_so_twice_a_day_as_long_as_wallets_are_fetched():
    fresh = replace(NEW, loaded=True, last_materialized=NOW, fetched=NOW + 60)
    assert isinstance(policy.load(fresh, NOW + policy.MATERIALIZE_EVERY - 1), Wait)
    assert isinstance(policy.load(fresh, NOW + policy.MATERIALIZE_EVERY), Act)
    nobody_fetches = replace(fresh, fetched=NOW - 60)
    assert isinstance(policy.load(nobody_fetches, NOW + 10 * policy.MATERIALIZE_EVERY), Wait)
    nobody_asked = replace(nobody_fetches, refreshes=False)
    assert isinstance(policy.load(nobody_asked, NOW + policy.MATERIALIZE_EVERY - 1), Wait)
    assert isinstance(policy.load(nobody_asked, NOW + policy.MATERIALIZE_EVERY), Act)
    never = replace(nobody_asked, fetched=0.0, last_materialized=0.0)
    assert isinstance(policy.load(never, NOW), Wait), "there is no table yet"


def test_checks_run_after_work_and_every_hour():
    assert isinstance(policy.check(None, None, None, NOW), Act)
    assert isinstance(policy.check(NOW - 10, NOW - 20, None, NOW), Wait)
    assert isinstance(policy.check(NOW - 10, NOW - 5, None, NOW), Act)
    assert isinstance(policy.check(NOW - 3600, None, None, NOW), Act)
    assert isinstance(policy.check(NOW - 3600, None, "abc", NOW), Wait)
