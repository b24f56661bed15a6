"""The statements for DuckDB."""

from functools import cache
from importlib import resources


@cache
def sql(name: str) -> str:
    """Statement `name`."""
    package = resources.files("polycopy_assets.warehouse") / "sql" / "duckdb"
    return (package / f"{name}.sql").read_text()
