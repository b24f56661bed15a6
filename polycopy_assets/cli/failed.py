"""`polycopy status --failed`: the wallets whose latest attempt failed, and why."""

from datetime import UTC, datetime

import click
import msgspec

from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.usable import usable
from polycopy_assets.feeds.known import named
from polycopy_assets.ledger.failure import beside
from polycopy_assets.record import attempts
from polycopy_assets.record.feed_record import FeedRecord
from polycopy_assets.resources.chosen import open_store
from polycopy_assets.settings import Settings
from polycopy_assets.text import counted

UNNOTED = "no reason was recorded: the source was down, or the run died"


class FailedWallet(msgspec.Struct, frozen=True, kw_only=True):
    """A failed wallet: why, failed attempts in a row, and epoch seconds of the last and the next.

    `feed` is named if several are collected. `failed_at` is None if no attempt of its own was
    noted, `next_attempt` if there is no automatic one.
    """

    wallet: str
    reason: str
    kind: str = ""
    attempts: int = 0
    failed_at: float | None = None
    next_attempt: float | None = None
    feed: str | msgspec.UnsetType = msgspec.UNSET


def failed_wallets(record: FeedRecord) -> list[FailedWallet]:
    """The wallets whose latest attempt failed, in the order of their registration."""
    wallets = attempts.failed(record)
    tried = attempts.latest(record, wallets)
    return [
        FailedWallet(
            wallet=wallet,
            reason=item.reason,
            kind=item.kind.value,
            attempts=item.number,
            failed_at=item.at,
            next_attempt=item.due,
        )
        if (item := tried.get(wallet))
        else FailedWallet(wallet=wallet, reason=UNNOTED)
        for wallet in wallets
    ]


def print_failed(chosen: Settings, *, as_json: bool) -> None:
    """Prints the failed wallets, one a line."""
    with open_instance(chosen, Needs.RECORD) as instance, usable(chosen):
        open_store(chosen, instance, keep=False)
        feeds = named(chosen.feeds)
        found = [
            msgspec.structs.replace(each, feed=feed.name) if len(feeds) > 1 else each
            for feed in feeds
            for each in failed_wallets(FeedRecord(instance, feed))
        ]
    if as_json:
        click.echo(msgspec.json.encode({"failed": found}))
        return
    for item in found:
        of = f"{item.feed}: " if item.feed else ""
        click.echo(f"{item.wallet}  {of}{beside(item.wallet, item.reason)}{_when(item)}")
    click.echo(
        f"{counted(len({item.wallet for item in found}), 'wallet')} failed."
        + (" `polycopy backfill` tries them again at once." if found else "")
    )


def _when(item: FailedWallet) -> str:
    if item.failed_at is None:
        return ""
    due = f"next attempt {_text(item.next_attempt)}" if item.next_attempt else "no next attempt"
    return f" (attempt {item.attempts}, {_text(item.failed_at)}; {due})"


def _text(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"
