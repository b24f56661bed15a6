"""What Dagster loads: everything below `defs/`, and how its runs execute."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """The component in `defs/polymarket`, and the assets in Python files beside it."""
    return dg.Definitions.merge(
        dg.load_from_defs_folder(path_within_project=Path(__file__).parent),
        # One process for a run: if it is killed, no process of a step goes on writing.
        dg.Definitions(executor=dg.in_process_executor),
    )
