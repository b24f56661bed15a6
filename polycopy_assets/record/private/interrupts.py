"""Dagster's handling of interrupts while a run is executed.

Dagster holds an interrupt back until code of ours runs, and raises it there. But it starts doing so
after the run is in its database: an interrupt in between would leave a run that never began and
never ends. So the command holds interrupts back from before that.

Private: Dagster keeps them with `capture_interrupts`, which its comments advise for such a use, and
has no public name for it. Pinned by `crash/test_ctrl_c.py`.
"""

from dagster._utils.interrupts import capture_interrupts as interrupts_kept
from dagster._utils.interrupts import check_captured_interrupt as interrupt_is_kept

__all__ = ["interrupt_is_kept", "interrupts_kept"]
