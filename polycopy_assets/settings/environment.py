"""The settings of this process: read from its environment, on demand."""

import os
from pathlib import Path

from polycopy_assets.settings import Settings, read_settings
from polycopy_assets.settings.env_file import refuse_foreign_url
from polycopy_assets.settings.place import root


def settings() -> Settings:
    """The settings in the environment; raises ConfigurationError."""
    found = read_settings(os.environ)
    for directory in {Path(), root(Path())}:
        refuse_foreign_url(os.environ, directory, found)
    return found
