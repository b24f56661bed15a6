"""Dagster instances that are not kept in files."""

import uuid
from pathlib import Path

import psycopg2
import yaml

from polycopy_assets_tests.deployment import Deployment

FORMS = ("short", "custom", "parts")
"""The ways to name Postgres in `dagster.yaml`."""

_PARTS = (
    ("run", "run_storage", "PostgresRunStorage"),
    ("event_log", "event_log", "PostgresEventLogStorage"),
    ("schedule", "schedule_storage", "PostgresScheduleStorage"),
)


def on_postgres(
    deployment: Deployment,
    server: str,
    form: str = "short",
    *,
    driver: str = "psycopg2",
    url: str = "",
) -> str:
    """Has the deployment's instance kept at `url`, or in a new database of `server`; its URL."""
    deployment.environ.pop("POLYCOPY_INSTANCE", None)
    if not url:
        name = f"t{uuid.uuid4().hex}"
        execute(server, f"CREATE DATABASE {name}")
        url = f"{server.rpartition('/')[0]}/{name}".replace("postgresql:", f"postgresql+{driver}:")
    home = Path(deployment.settings.home)
    home.mkdir(parents=True, exist_ok=True)
    written = {"telemetry": {"enabled": False}, **_storage(form, {"postgres_url": url})}
    (home / "dagster.yaml").write_text(yaml.safe_dump(written))
    return url


def _storage(form: str, config: dict[str, str]) -> dict[str, object]:
    match form:
        case "short":
            return {"storage": {"postgres": config}}
        case "custom":
            custom = _class("dagster_postgres", "DagsterPostgresStorage", config)
            return {"storage": {"custom": custom}}
        case _:
            return {
                f"{part}_storage": _class(f"dagster_postgres.{module}", kind, config)
                for part, module, kind in _PARTS
            }


def _class(module: str, kind: str, config: dict[str, str]) -> dict[str, object]:
    return {"module": module, "class": kind, "config": config}


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    """Runs a statement on a connection of its own; the rows that it gives."""
    connection = psycopg2.connect(url.replace("+psycopg2", ""))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
