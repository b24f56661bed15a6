"""A few tests of kills once more without a database: `make test-ephemeral` runs all of them so."""

import pytest

from polycopy_assets_tests.crash import test_kill, test_kill_compaction, test_kill_refetch
from polycopy_assets_tests.deployment import Deployed

pytestmark = pytest.mark.usefixtures("ephemeral")


def test_what_a_killed_first_fetch_left_is_never_taken_for_all_there_is(deployed: Deployed):
    test_kill.test_what_a_killed_first_fetch_left_is_never_taken_for_all_there_is(deployed, 1)


def test_segments_united_before_a_kill_are_neither_fetched_nor_combined_again(deployed: Deployed):
    test_kill_compaction.test_killed_before_the_record_it_names_the_pieces(
        deployed, "after the first union"
    )


def test_pieces_that_a_kill_left_are_removed(deployed: Deployed):
    test_kill_compaction.test_killed_after_the_record_the_pieces_are_left_over(
        deployed, "before the pieces are removed"
    )


def test_segments_that_are_united_while_somebody_looks_are_not_lost(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
):
    test_kill_compaction.test_segments_that_are_united_between_record_and_listing_are_not_lost(
        deployed, monkeypatch, ()
    )


def test_a_killed_full_refetch_is_left_to_do_and_then_ended(deployed: Deployed):
    test_kill_refetch.test_a_killed_full_refetch_is_left_to_do_and_then_ended(
        deployed, "after the third new segment", test_kill_refetch.RECONCILE
    )
