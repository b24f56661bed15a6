"""What a materialization or a check has cost, for its metadata."""

from collections.abc import Mapping

from polycopy_assets.warehouse.base import Cost


def cost_metadata(cost: Cost | None) -> Mapping[str, int]:
    """Jobs, bytes billed and slot milliseconds; nothing where nothing costs anything."""
    return {} if cost is None else cost._asdict()
