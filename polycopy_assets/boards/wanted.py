"""The policy: who on a board is wanted."""

from collections.abc import Collection, Iterable

from polycopy_assets.boards.board import Entry


def wanted(entries: Iterable[Entry], first: int, known: Collection[str]) -> list[str]:
    """The wallets of rank `first` and better that are not `known`, best rank first.

    0 wants nobody. Ties share a rank, so there may be a few more than `first`.
    """
    return [entry.wallet for entry in entries if entry.rank <= first and entry.wallet not in known]
