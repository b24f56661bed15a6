"""What to do next, by how things stand. Pure."""

from collections.abc import Iterator, Sequence

from polycopy_assets.record.wanted import Standing
from polycopy_assets.text import counted, first_few, listed

NO_WALLETS = (
    "no wallets: `polycopy wallets add ADDRESS`, `polycopy wallets add -f FILE`, or without a list"
    " `polycopy wallets discover`"
)
_NAMED = 1


def next_steps(  # noqa: PLR0917 - the numbers of `status`
    total: int,
    remaining: int,
    failed: int,
    trades: int,
    table_rows: int,
    stands: Standing,
    feeds: Sequence[str] = ("trades",),
) -> list[str]:
    """Lines that say what to do next, the most urgent first; never empty.

    `feeds` are the names of those that are collected.
    """
    steps = list(_steps(total, remaining, failed, trades, table_rows, stands))
    return steps or [f"all is complete: `polycopy backfill --refresh` fetches new {listed(feeds)}"]


def _steps(  # noqa: PLR0917 - the same
    total: int, remaining: int, failed: int, trades: int, table_rows: int, stands: Standing
) -> Iterator[str]:
    if stands.purging:
        yield (
            f"{_wallets(stands.purging)} being purged: if no command is doing it, `polycopy wallets"
            " remove --purge` continues"
        )
    half = [wallet for wallet in stands.half_removed if wallet not in stands.purging]
    if half:
        yield (
            f"{_wallets(half)} removed, but a row of `traders` or a partition is left: `polycopy"
            " wallets remove` takes that away, `polycopy wallets add` collects again"
        )
    if stands.lost:
        yield (
            f"{_wallets(stands.lost)} wanted by the store's list, but neither in `traders` nor a"
            " partition: `polycopy reconcile --apply` registers again, `polycopy wallets"
            " remove` stops collecting"
        )
    if stands.without_row:
        yield (
            f"{_wallets(stands.without_row)} collected, but without a row of `traders`: `polycopy"
            " wallets add` writes one, `polycopy wallets remove` stops collecting"
        )
    if stands.without_partition:
        yield (
            f"{_wallets(stands.without_partition)} in `traders`, but without a partition: `polycopy"
            " backfill` registers and fetches"
        )
    if not total and not stands.without_partition and not stands.lost:
        yield NO_WALLETS
    if failed:
        yield "`polycopy status --failed` says why wallets failed"
    if remaining:
        yield "`polycopy backfill` fetches what remains"
    elif table_rows < trades:
        yield "`polycopy backfill` loads what the table lacks"


def _wallets(names: Sequence[str]) -> str:
    """`3 wallets (0x… and 2 more): are`, as the beginning of a sentence."""
    verb = "is" if len(names) == 1 else "are"
    return f"{counted(len(names), 'wallet')} ({first_few(names, _NAMED)}) {verb}"
