"""Times as APIs write them: seconds, milliseconds or ISO 8601."""

from datetime import UTC, datetime

from polycopy_assets.errors import ContractBroken
from polycopy_assets.text import quoted

_MILLISECONDS = 10**11
_YEAR_10000 = 253_402_300_800
"""Epoch seconds after any date."""


def moment(value: float | str, what: str) -> float:
    """Epoch seconds; raises ContractBroken, whose text begins with `what`."""
    try:
        found = _seconds(value)
    except (ValueError, OverflowError) as error:
        raise _no_time(value, what) from error
    if not 0 <= found < _YEAR_10000:
        raise _no_time(value, what)
    return found


def _seconds(value: float | str) -> float:
    if isinstance(value, str):
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return value / 1000 if value > _MILLISECONDS else float(value)


def _no_time(value: float | str, what: str) -> ContractBroken:
    return ContractBroken(f"{what} {quoted(value)}, which is no time")
