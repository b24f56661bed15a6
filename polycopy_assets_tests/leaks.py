"""Where a secret could have gone to: every file, every cell, every answer of the webserver."""

import base64
import gzip
import html
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

import duckdb
import httpx

from polycopy_assets_tests.deployment import Deployment
from polycopy_assets_tests.dev import ROOT, free_port, wait_for

PIECE = 8
RUNS = """{ runsOrError { ... on Runs { results {
  runId jobName status runConfigYaml tags { key value } rootRunId stats { __typename }
  assetMaterializations { description metadataEntries { ...Entry } }
} } } }"""
LOGS = """query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
  __typename
  ... on MessageEvent { message level stepKey }
  ... on ErrorEvent { error { ...Error causes { ...Error } } }
  ... on EngineEvent { error { ...Error causes { ...Error } } }
  ... on DisplayableEvent { description label metadataEntries { ...Entry } }
} } } }
fragment Error on PythonError { message stack className }"""
ASSETS = """{ assetNodes { id description metadataEntries { ...Entry }
  assetMaterializations { description tags { key value } metadataEntries { ...Entry } }
  assetObservations { description tags { key value } metadataEntries { ...Entry } }
} }"""
RESOURCES = """{ allTopLevelResourceDetailsOrError(repositorySelector: {
  repositoryName: "__repository__", repositoryLocationName: "polycopy_assets.definitions" }) {
  ... on ResourceDetailsList { results { name description
    configFields { name defaultValueAsJson } configuredValues { key value type } } }
  ... on PythonError { message } } }"""
ENTRY = """
fragment Entry on MetadataEntry { label description
  ... on TextMetadataEntry { text }
  ... on JsonMetadataEntry { jsonString }
  ... on MarkdownMetadataEntry { mdStr }
}"""


def traces(secret: str, text: str | bytes) -> list[str]:
    """What of `secret` is in `text`, in any spelling, or in pieces of eight characters."""
    where = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    lower = where.lower()
    spelled = {
        base64.b64encode(secret.encode()).decode().rstrip("="),
        quote(secret, safe=""),
        quote_plus(secret),
        html.escape(secret),
        json.dumps(secret)[1:-1],
        *(secret[i : i + PIECE] for i in range(len(secret) - PIECE + 1)),
    }
    return sorted(each for each in spelled if each.lower().encode() in lower)


def everything(root: Path) -> Iterator[tuple[str, str | bytes]]:
    """Every file below `root` and its name; what is packed also unpacked, tables cell by cell."""
    for path in sorted(root.rglob("*")):
        yield "a name", str(path.relative_to(root))
        if not path.is_file():
            continue
        content = path.read_bytes()
        yield str(path), content
        if content.startswith(b"\x1f\x8b"):
            yield f"{path}, unpacked", gzip.decompress(content)
        if content.startswith(b"SQLite format 3"):
            yield from ((f"{path}, a cell", cell) for cell in _sqlite_cells(path))
        if path.suffix == ".duckdb":
            yield from ((f"{path}, a cell", cell) for cell in _duckdb_cells(path))


def _sqlite_cells(path: Path) -> Iterator[str | bytes]:
    with closing(sqlite3.connect(path)) as db:
        names = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        for name in names:
            for row in db.execute(f'SELECT * FROM "{name}"'):
                for cell in row:
                    yield cell if isinstance(cell, bytes) else str(cell)


def _duckdb_cells(path: Path) -> Iterator[str]:
    with duckdb.connect(str(path), read_only=True) as db:
        for (name,) in db.execute("SELECT table_name FROM information_schema.tables").fetchall():
            for row in db.execute(f'SELECT * FROM "{name}"').fetchall():
                yield from map(str, row)


@contextmanager
def webserver(deployment: Deployment) -> Iterator[str]:
    """A real webserver on the deployment, for as long as the context is open: its URL."""
    port = free_port()
    with (deployment.root / "webserver.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dagster_webserver", "-w", str(ROOT / "workspace.yaml")),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            env=deployment.process_environ(),
            cwd=deployment.root,
            stdout=log,
            stderr=log,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: _answers(url), 120, "the webserver")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/server_info", timeout=2).is_success
    except httpx.TransportError:
        return False


def pages(url: str) -> Iterator[tuple[str, str | bytes]]:
    """What the UI shows: runs with tags and configuration, their logs, assets, resources."""
    runs = _query(url, RUNS + ENTRY)
    yield "runs", json.dumps(runs)
    for run in runs["runsOrError"]["results"]:
        yield f"log of {run['runId']}", json.dumps(_query(url, LOGS + ENTRY, run=run["runId"]))
        packed = httpx.get(f"{url}/download_debug/{run['runId']}", timeout=60)
        assert packed.is_success
        yield f"debug file of {run['runId']}", gzip.decompress(packed.content)
    yield "assets", json.dumps(_query(url, ASSETS + ENTRY))
    resources = json.dumps(_query(url, RESOURCES))
    assert "DOME_API_KEY" in resources, resources
    yield "resources", resources


def _query(url: str, text: str, **variables: str) -> dict:
    answer = httpx.post(f"{url}/graphql", json={"query": text, "variables": variables}, timeout=60)
    body = answer.json()
    assert "errors" not in body, body["errors"]
    return body["data"]
