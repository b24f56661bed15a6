"""An instance whose runs in this process do not have their output captured.

Dagster captures the output of each step with two helper processes in our own process group. Ctrl-C
in a terminal reaches them too, and they print tracebacks of their own.

Private: `InstanceRef.from_dir` with `overrides`; the public `DagsterInstance.from_config` takes
none. Pinned by `crash/test_interrupt.py`.
"""

from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef

_NO_CAPTURE: Any = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


def quiet_instance(home: str) -> dg.DagsterInstance:
    """The instance at `home`, as its `dagster.yaml` says, but without captured output."""
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(home, overrides=_NO_CAPTURE))
