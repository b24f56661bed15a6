"""`polycopy markets`: updates the tables of tokens and markets, by the job `update_markets`."""

import json
from typing import Any

import click

from polycopy_assets.assets.dimensions import EVERY_CONDITION_IS_KNOWN
from polycopy_assets.assets.load_events import failed_line
from polycopy_assets.cli.common import Command, as_json, one_line_errors, say
from polycopy_assets.cli.display import shown
from polycopy_assets.cli.instance import Needs, open_instance
from polycopy_assets.cli.runs import raise_failure, run_job
from polycopy_assets.cli.usable import check_usable
from polycopy_assets.fetch.progress import Progress
from polycopy_assets.guard.ours import Job
from polycopy_assets.settings.environment import settings
from polycopy_assets.text import counted

_SHOWN = ("conditions", "asked", "changed", "requests", "unknown", "refused")


@click.command(
    "markets",
    cls=Command,
    page="docs/automation.md",
    needs_data=True,
    examples=(
        "polycopy markets",
        "polycopy markets --json",
    ),
)
@as_json
def markets_command(*, as_json: bool) -> None:
    """Update the tables of tokens and markets.

    Asks the source for every condition in the loaded tables that is new, or of which something may
    still change. It can be killed and repeated: what is final is not asked for again.
    """
    chosen = settings()
    progress = Progress()
    with (
        one_line_errors(),
        open_instance(chosen, Needs.WORK) as instance,
        shown(progress, "markets"),
    ):
        check_usable(instance, chosen)
        result = run_job(instance, chosen, Job.MARKETS, {}, progress)
        raise_failure(instance, result)
    (event,) = [
        each.step_materialization_data.materialization
        for each in result.get_asset_materialization_events()
        if each.asset_key and each.asset_key.path == ["markets"]
    ]
    checks = [each for each in result.get_asset_check_evaluations() if not each.passed]
    said: dict[str, Any] = {name: event.metadata[name].value for name in _SHOWN}
    if as_json:
        click.echo(json.dumps(said))
    else:
        click.echo(
            f"{counted(said['asked'], 'condition')} looked up with"
            f" {counted(said['requests'], 'request')}, {said['changed']:,} with news;"
            f" {counted(said['conditions'], 'condition')} in all"
            + (f", {said['unknown']:,} of them unknown" if said["unknown"] else "")
        )
    for check in checks:
        if check.check_name == EVERY_CONDITION_IS_KNOWN:
            say(f"polycopy: {check.description}")
        else:
            say(f"warning: {failed_line(check)}")
