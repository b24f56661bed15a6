"""Old ticks of our sensors and schedules. Dagster deletes on its own only those that were skipped.

The scheduler continues from the latest tick of a schedule. Without it, it would start runs for the
times since the schedule was switched on. So the latest tick always stays.
"""

from collections.abc import Callable

import dagster as dg

from polycopy_assets.guard.ours import from_our_code

_PAGE = 1_000


def delete_old_ticks(
    instance: dg.DagsterInstance, before: float, check: Callable[[], None], *, dry_run: bool
) -> int:
    """Deletes ticks older than `before` (epoch seconds), a page at a time; how many.

    `check` is called before each page. With `dry_run` nothing is deleted.
    """
    count = 0
    for state in instance.all_instigator_state():
        if not from_our_code(state.origin):
            continue
        origin, selector = state.instigator_origin_id, state.selector_id
        latest = instance.get_ticks(origin, selector, limit=1)
        end, ends = min(before, latest[0].timestamp) if latest else 0.0, []
        while page := instance.get_ticks(origin, selector, before=end, limit=_PAGE):
            count += len(page)
            ends.append(end)
            end = page[-1].timestamp
        for each in reversed(ends if not dry_run else ()):  # the oldest first
            check()
            instance.purge_ticks(origin, selector, before=each)
    return count
