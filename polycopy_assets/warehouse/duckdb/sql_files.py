"""The statements for DuckDB, and the paths of files that they read."""

import glob
from functools import cache
from importlib import resources
from pathlib import Path


@cache
def sql(name: str) -> str:
    """Statement `name`."""
    package = resources.files("polycopy_assets.warehouse") / "sql" / "duckdb"
    return (package / f"{name}.sql").read_text()


def only(path: Path) -> str:
    """A parameter of `read_parquet` that means this file alone.

    DuckDB takes a path for a pattern. A directory may be called `a*b` and lie beside `ab`.
    """
    return glob.escape(str(path))
