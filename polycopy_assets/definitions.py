"""What Dagster loads: the map for the settings in the environment, which are read on import."""

from polycopy_assets.assembly import build
from polycopy_assets.settings.environment import settings

__all__ = ["build", "defs", "settings"]

defs = build(settings())
