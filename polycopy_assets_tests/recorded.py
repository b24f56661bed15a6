"""Folders with rows as the sources serve them; `data/PROVENANCE.md` says where they are from."""

import os
from pathlib import Path

MADE_UP = Path(__file__).parent / "data" / "rows"

FOLDERS = [MADE_UP, *(Path(path) for path in [os.environ.get("POLYCOPY_TEST_RECORDED")] if path)]
"""The rows that come with the tests, and recorded ones where there are any."""
