"""Threads that may hang in a call: a process that has ended its work does not wait for them."""

FETCH = "fetch"
BESIDE = "beside"

MAY_HANG = frozenset({FETCH, BESIDE})
"""Their names."""
