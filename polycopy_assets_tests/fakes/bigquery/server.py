"""The double's REST interface: what it answers to a request."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from polycopy_assets_tests.fakes.bigquery.changed import (
    create_table,
    find_table,
    listed,
    patch_table,
)
from polycopy_assets_tests.fakes.bigquery.engine import Engine
from polycopy_assets_tests.fakes.bigquery.jobs import Jobs
from polycopy_assets_tests.fakes.bigquery.model import JobError
from polycopy_assets_tests.fakes.bigquery.shown import job_resource, results, table_resource
from polycopy_assets_tests.fakes.bigquery.streaming import stream

Body = dict[str, Any]


class Double(Jobs):
    """A running double: what it holds, what it did, and what tests may do to it."""

    def __init__(self, storage_url: str | None) -> None:
        super().__init__(Engine(storage_url))
        self.url = ""
        self.requests: list[tuple[str, str]] = []

    def create_dataset(self, project: str, dataset: str, location: str = "EU") -> None:
        """Makes a dataset."""
        self.engine.datasets[project, dataset] = location

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: Body) -> Body | None:
        """Serves one request; raises JobError for what BigQuery answers with an error."""
        parts = urlsplit(path)
        parameters = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        steps = [unquote(step) for step in parts.path.removeprefix("/bigquery/v2/").split("/")]
        match (method, *steps):
            case ("POST", "projects", project, "jobs"):
                return self.insert(project, body)
            case ("GET", "projects", project, "jobs", job_id):
                return job_resource(self.look(project, job_id, parameters.get("location")))
            case ("GET", "projects", project, "queries", job_id):
                job = self.look(project, job_id, parameters.get("location"))
                return results(job, parameters)
            case ("POST", "projects", project, "datasets"):
                self.create_dataset(
                    project, body["datasetReference"]["datasetId"], body.get("location", "US")
                )
                return body
            case (
                _,
                "projects",
                project,
                "datasets",
                dataset,
                "tables",
                name,
                "data" | "insertAll",
            ):
                with self.engine.lock:
                    table = find_table(self.engine, project, dataset, name)
                    reads = steps[-1] == "data"
                    return (
                        listed(self.engine, table, parameters)
                        if reads
                        else stream(self.engine, table, body)
                    )
            case _:
                with self.engine.lock:
                    return self._metadata(method, steps, headers, body)

    def _metadata(
        self, method: str, steps: list[str], headers: Mapping[str, str], body: Body
    ) -> Body | None:
        match (method, *steps):
            case ("GET" | "PATCH", "projects", project, "datasets", dataset):
                location = self.engine.datasets.get((project, dataset))
                if location is None:
                    raise JobError("notFound", f"Not found: Dataset {project}:{dataset}")
                if method == "PATCH":
                    self.engine.defaults[project, dataset] = body
                return {
                    "datasetReference": {"projectId": project, "datasetId": dataset},
                    "location": location,
                    **self.engine.defaults.get((project, dataset), {}),
                }
            case ("GET", "projects", project, "datasets", dataset, "tables"):
                tables = [t for t in self.engine.tables if t[:2] == (project, dataset)]
                return {
                    "tables": [
                        table_resource(self.engine, find_table(self.engine, *t)) for t in tables
                    ]
                }
            case ("POST", "projects", project, "datasets", dataset, "tables"):
                return create_table(self.engine, project, dataset, body)
            case ("GET", "projects", project, "datasets", dataset, "tables", name):
                return table_resource(self.engine, find_table(self.engine, project, dataset, name))
            case ("PATCH", "projects", project, "datasets", dataset, "tables", name):
                table = find_table(self.engine, project, dataset, name)
                return patch_table(self.engine, table, body, headers.get("If-Match"))
            case ("DELETE", "projects", project, "datasets", dataset, "tables", name):
                self.engine.drop(find_table(self.engine, project, dataset, name).name)
                return None
            case _:
                raise JobError("invalid", f"the double does not serve {method} {'/'.join(steps)}")
