"""The pages of the documentation, as the descriptions in Dagster name them."""

from polycopy_assets.feeds.base import Feed
from polycopy_assets.guard.ours import Job, job_of


def scattered(feed: Feed) -> str:
    """Where people choose wallets of `feed`, what is slow and what is fast."""
    return (
        "**Many scattered wallets:** Dagster's dialog starts one run for each contiguous range of "
        "the chosen partitions, whatever it says. The fast way is the job "
        f"`{job_of(Job.FETCH, feed)}`, *Launchpad*: with "
        '`wallets: ["0x…", "0x…"]`, or with `select: failed`, one run fetches them all. '
        "docs/automation.md, *Fetching by hand*, has the figures."
    )


AUTOMATION = "More: docs/automation.md, 'What happens by itself'."
CHECKS_PAGE = "More: docs/automation.md, 'Checks'."
DEAD_RUNS_PAGE = "More: docs/automation.md, 'Runs that die'."
WITNESS_PAGE = "More: docs/automation.md, 'A daily comparison with the source'."
LEADERBOARD_PAGE = "More: docs/automation.md, 'A daily snapshot of the leaderboard'."
MARKETS_PAGE = "More: docs/automation.md, 'Tokens and markets'."
AUDIT_PAGE = "More: docs/automation.md, 'The daily audit'."
RECORD_PAGE = "More: docs/formats.md, 'The record'."
TABLE_PAGE = "More: docs/formats.md, 'What is loaded'."
RECONCILIATION_PAGE = "More: docs/reconciliation.md."
MIGRATING_PAGE = "More: docs/migrating.md."
WALLETS_PAGE = "More: docs/operations.md, 'Who is wanted'."
HISTORY_PAGE = "More: docs/operations.md, 'A history that does not grow'."
