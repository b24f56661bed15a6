"""Wallets that are complete and have no trades: most often the address is wrong."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from polycopy_assets.text import first_lines
from polycopy_assets.trades.segment import recorded_rows

_NAMED = 10


def without_trades(wallets: Iterable[str], versions: Mapping[str, str]) -> list[str]:
    """Those of `wallets` that are complete, by their data `versions`, and have no trade."""
    rows = recorded_rows(versions)
    return [wallet for wallet in wallets if rows.get(wallet) == 0]


def named_without_trades(empty: Sequence[str]) -> Iterator[str]:
    """Lines for people that name the first of `empty`: most often the address is wrong."""
    if not empty:
        return
    yield (
        f"complete without trades: {len(empty):,}. Polymarket trades under the address in the"
        " profile's URL, not under the one that signs:"
    )
    yield from first_lines(empty, _NAMED, "  ")
