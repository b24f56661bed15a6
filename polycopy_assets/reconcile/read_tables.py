"""The tables as ledgers: the rows of each wallet in a feed's, and texts that name no wallet."""

from collections.abc import Iterable, Iterator

import msgspec

from polycopy_assets.errors import InvalidWallet
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.ledger.facts import Facts, Tally, claimed_until
from polycopy_assets.reconcile.listing import Refused
from polycopy_assets.trades.holdings import Holdings
from polycopy_assets.trades.wallet import parse_wallet
from polycopy_assets.warehouse.feed_table import FeedTable


def sorted_out(
    ledger: str, texts: Iterable[str | None], refused: list[Refused]
) -> Iterator[tuple[str, int]]:
    """(wallet, number of the text) for the texts that name a wallet."""
    for number, text in enumerate(texts):
        try:
            yield parse_wallet(text or ""), number
        except InvalidWallet:
            refused.append(Refused(ledger, "NULL" if text is None else text))


def add_tallies(
    table: FeedTable,
    facts: dict[str, Facts],
    held: Holdings,
    refused: list[Refused],
    progress: Progress,
    *,
    by_id: bool,
) -> None:
    """Counts the table's rows, including those of wallets that no other ledger knows.

    If no batch has claims of such a wallet either, the rows that we loaded are counted too.
    """
    progress.begin("counting the table's rows")
    claims = {wallet: until for wallet, item in facts.items() if (until := claimed_until(item))}
    found = table.tally(claims, by_id=by_id)
    unknown: list[str] = []
    for wallet, number in sorted_out(table.feed.table, [text for text, _ in found], refused):
        known = facts.get(wallet) or Facts(wallet=wallet)
        if wallet not in facts and not held.names(wallet):
            unknown.append(wallet)
        facts[wallet] = msgspec.structs.replace(known, tally=_sum(known.tally, found[number][1]))
    for wallet, rows in table.loaded_rows(unknown).items():
        facts[wallet] = msgspec.structs.replace(facts[wallet], unclaimed=rows)


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(*(a + b for a, b in zip(one, other, strict=True)))
