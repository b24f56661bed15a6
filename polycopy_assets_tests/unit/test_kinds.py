"""Findings, actions and policies: what they are called, what is read, what is shown."""

import dagster as dg
import msgspec
import pytest

from polycopy_assets.ledger.facts import Facts
from polycopy_assets.ledger.findings import Finding
from polycopy_assets.ledger.kinds import Action, FindingKind
from polycopy_assets.reconcile.work import Work
from polycopy_assets.record.materializations import Record
from polycopy_assets.record.refetching import State

SHOWN = {
    "ghost": "refetch",
    "ahead": "refetch",
    "orphan": "record",
    "adoptable": "adopt",
    "false_complete": "fetch",
    "empty_complete": "confirm",
    "adopted": "replace",
    "newer_than_file": "fetch",
    "refetching": "fetch",
    "unloaded": "reload",
    "surplus": "reload",
    "unclaimed": "delete",
    "unregistered": "register",
    "unexported": "export",
    "remaining": "backfill",
    "unlisted": "list",
    "retired": "none",
    "consistent": "none",
}
"""The words that reports show: others read them."""


def test_findings_and_actions_are_called_as_reports_show_them():
    assert {kind.value: kind.action.value for kind in FindingKind} == SHOWN
    assert {action.value for action in Action} == set(SHOWN.values())
    assert len({kind.meaning for kind in FindingKind}) == len(FindingKind)


def test_only_what_is_consistent_or_left_to_a_backfill_is_settled():
    settled = {kind for kind in FindingKind if kind.settled}
    assert settled == {FindingKind.CONSISTENT, FindingKind.REMAINING, FindingKind.RETIRED}


@pytest.mark.parametrize("kind", FindingKind)
def test_a_finding_is_encoded_by_its_words_and_read_back(kind: FindingKind):
    found = Finding(wallet="0x", finding=kind, action=kind.action)
    text = msgspec.json.encode({"counts": {kind: 1}, "findings": [found]})
    assert msgspec.json.decode(text) == {
        "counts": {kind.value: 1},
        "findings": [{"wallet": "0x", "finding": kind.value, "action": SHOWN[kind], "why": ""}],
    }
    assert msgspec.convert(msgspec.to_builtins(found), Finding) == found


def test_an_older_report_that_says_behind_is_still_read():
    older = b'{"wallet": "0x", "finding": "behind", "action": "fetch", "why": "3 trades"}'
    read = msgspec.json.decode(older, type=Finding)
    assert read.finding is FindingKind.NEWER_THAN_FILE
    assert FindingKind("behind") is FindingKind.NEWER_THAN_FILE
    counts = msgspec.json.decode(b'{"behind": 2}', type=dict[FindingKind, int])
    assert counts == {FindingKind.NEWER_THAN_FILE: 2}
    assert b"behind" not in msgspec.json.encode([read, counts])


@pytest.mark.parametrize("word", ["behnd", "", "newer"])
def test_any_other_word_is_refused(word: str):
    with pytest.raises(ValueError, match="is not a valid FindingKind"):
        FindingKind(word)


@pytest.mark.parametrize(("key", "newer"), [("trades_behind", 3), ("something_else", 0)])
def test_records_tell_of_newer_trades_under_the_name_that_they_always_had(key: str, newer: int):
    record = Record(
        wallet="0x",
        version="rows-0-0000000000000000",
        run_id="",
        segments=(),
        covered_until=0,
        metadata={key: dg.MetadataValue.int(3)},
    )
    assert record.newer == newer


@pytest.mark.parametrize("kind", FindingKind)
def test_a_repair_has_a_place_for_every_finding_that_asks_for_action(kind: FindingKind):
    work, facts = Work(), Facts(wallet="0x")
    work.add(kind, facts)
    assert [*work.known, *work.unclaimed] == ([] if kind.settled else [facts])


def test_a_state_of_a_full_refetch_that_another_version_wrote_is_one_that_has_only_begun():
    notes = msgspec.json.decode(
        b'{"0xa":"begun","0xb":"marked","0xc":"half"}', type=dict[str, State]
    )
    assert notes == {"0xa": State.BEGUN, "0xb": State.MARKED, "0xc": State.BEGUN}
