"""The number of the next batch: never one that is taken, or that would count as loaded."""

import pytest

from polycopy_assets.batches.manifests import Broken
from polycopy_assets.errors import StoreError
from polycopy_assets.trades.batch import Manifest
from polycopy_assets.trades.batch_rules import FURTHEST, LAST_BATCH
from polycopy_assets_tests.of_trades import manifest_name, next_batch


def sound(*numbers: int) -> list[Manifest]:
    return [Manifest(batch=number, rows=0, parts=[], claims=[]) for number in numbers]


def broken(name: int, *, believed: bool = True) -> Broken:
    """A broken batch; of one whose number is not believed only the name is taken."""
    return Broken(name=manifest_name(name), why="damaged", number=name if believed else 0)


@pytest.mark.parametrize(
    ("manifests", "loaded", "others", "number"),
    [
        ([], [], [], 1),
        ([1, 2, 3], [], [], 4),
        # A gap is not filled: a table may hold what was there.
        ([1, 3], [], [], 4),
        ([7], [], [], 8),
        # Nor is a number that the table holds, though the store has lost it.
        ([], [1, 2], [], 3),
        ([1, 2], [1, 2, 3, 4], [], 5),
        ([1, 2], [1], [], 3),
        # A broken batch keeps its number until it is set aside, and then its name is free.
        ([1], [], [broken(2)], 3),
        ([1, 2], [], [broken(1)], 3),
        ([1], [4], [broken(6)], 7),
        # Where its number is not believed its name is taken all the same.
        ([1], [], [broken(2, believed=False)], 3),
        ([1], [], [broken(2, believed=False), broken(3, believed=False)], 4),
        ([1], [], [broken(3, believed=False)], 2),
        # Numbers far beyond all batches are not followed, or one would use up all that there are.
        ([1], [1 + FURTHEST], [], 2),
        ([1], [FURTHEST], [], FURTHEST + 1),
        ([1], [1, 5, LAST_BATCH], [], 2),
        ([LAST_BATCH - 1], [], [], LAST_BATCH),
    ],
)
def test_the_next_batch_has_the_number(
    manifests: list[int], loaded: list[int], others: list[Broken], number: int
):
    assert next_batch(sound(*manifests), loaded, others) == number


@pytest.mark.parametrize(
    ("manifests", "others"),
    [([LAST_BATCH], []), ([LAST_BATCH - 1], [broken(LAST_BATCH, believed=False)])],
)
def test_without_a_number_that_would_be_read_back_nothing_is_combined(
    manifests: list[int], others: list[Broken]
):
    with pytest.raises(StoreError, match="no number left"):
        next_batch(sound(*manifests), [], others)
