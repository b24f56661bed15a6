"""What Dagster loads: the map for the settings in the environment, which are read on import."""

from polycopy_assets.assembly import build
from polycopy_assets.errors import ConfigurationError
from polycopy_assets.settings import Settings
from polycopy_assets.settings.environment import settings

__all__ = ["build", "defs", "settings"]


def _kept(chosen: Settings) -> Settings:
    """The settings, if something keeps the record of what Dagster runs."""
    if chosen.instance == "ephemeral":
        raise ConfigurationError(
            "POLYCOPY_INSTANCE=ephemeral is for the command `polycopy`: under Dagster's UI, daemon"
            " or workers nothing would keep the record. Unset it, or name a Postgres database"
        )
    return chosen


defs = build(_kept(settings()), code_references=True)
