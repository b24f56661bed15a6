"""Whether runs of the versions before the locks are dead, by the rule of those versions.

They hold no lock. While they worked they logged a line every ten seconds, and a run that had logged
nothing for five minutes was ended. Delete this module when no such run is left unfinished.
"""

import dagster as dg

SILENT_SECONDS = 300.0

_WORKER_TAG = "polycopy/worker"
"""The tag that named a run and its process: `1a2b3c4d@host:4711`."""


def is_older(run: dg.DagsterRun) -> bool:
    """Whether a version before the locks ran it. A retry inherits the tag of the retried run."""
    return run.tags.get(_WORKER_TAG, "").partition("@")[0] == run.run_id[:8]


def silent(instance: dg.DagsterInstance, record: dg.RunRecord, now: float) -> str:
    """Why the run is dead; empty if it has logged a line within `SILENT_SECONDS`."""
    run_id = record.dagster_run.run_id
    latest = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    last = latest[0].event_log_entry.timestamp if latest else record.create_timestamp.timestamp()
    if now - last <= SILENT_SECONDS:
        return ""
    return f"it is of an older version, and has written nothing into its log for {now - last:.0f} s"
