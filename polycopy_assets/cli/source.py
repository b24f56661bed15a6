"""How `polycopy reconcile --source` reports the comparison with the source's own counts."""

from datetime import UTC, datetime

import click

from polycopy_assets.cli.common import say
from polycopy_assets.ledger.source_counts import Count, Witnessed
from polycopy_assets.text import counted, first_lines

NAMED = 20


def source_json(found: Witnessed) -> dict[str, object]:
    """What `--json` prints under `source`; times are epoch seconds."""
    return {
        "agree": found.agree,
        "disagree": [
            {
                "wallet": count.wallet,
                "source": count.source,
                "table": count.ours,
                "before": count.until,
                "asked": count.asked,
                "refetched": count.refetched or None,
            }
            for count in found.disagree
        ],
        "failures": found.failed,
        "not_asked": found.not_asked,
        "not_compared": found.not_compared,
        "refetched": found.refetched,
    }


def print_source(found: Witnessed | None) -> None:
    """Prints both numbers of wallets that differ, what failed, and a line that sums it up.

    Nothing if the source was not asked.
    """
    if found is None:
        return
    differ = [f"{count.wallet}: {_difference(count)}" for count in found.disagree]
    failed = [f"{each.wallet}: {each.reason}" for each in found.failed]
    for line in first_lines(differ, NAMED, "warning: "):
        say(line)
    for line in first_lines(failed, NAMED, "not compared: "):
        say(line)
    if max(len(differ), len(failed)) > NAMED:
        say("`--json` names all wallets")
    if found.not_asked:
        say(
            f"{counted(found.not_asked, 'wallet was', 'wallets were')} not compared:"
            " the source is down. Run it again."
        )
    refetched = f" {len(found.refetched):,} were fetched again in full." if found.refetched else ""
    click.echo(
        f"The source's own count: {counted(found.agree, 'wallet agrees', 'wallets agree')},"
        f" {len(found.disagree):,} differ,"
        f" {len(found.failed):,} failed, {found.not_compared:,} cannot be compared yet.{refetched}"
    )


def _difference(count: Count) -> str:
    day = f"{datetime.fromtimestamp(count.until, UTC):%Y-%m-%d}"
    tried = ""
    if count.refetched:
        tried = f"; a full refetch on {datetime.fromtimestamp(count.refetched, UTC):%Y-%m-%d}"
        tried += " did not help" if count.left else " had settled an earlier difference"
    numbers = f"the source counts {counted(count.source, 'trade')}, {count.ours:,} are in the table"
    return f"{numbers} (before {day}){tried}"
