"""Jobs and tables of the double as the interface shows them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from polycopy_assets_tests.fakes.bigquery.engine import Engine
from polycopy_assets_tests.fakes.bigquery.model import Job, Table, micros
from polycopy_assets_tests.fakes.bigquery.pages import page

Body = dict[str, Any]


def job_resource(job: Job) -> Body:
    """A job as the interface shows it."""
    status: Body = {"state": job.state}
    if job.state == "DONE" and job.error is not None:
        status["errorResult"] = {"reason": job.error.reason, "message": job.error.message}
        status["errors"] = [status["errorResult"]]
    query: Body = {
        "totalBytesProcessed": str(job.bytes_processed),
        "totalBytesBilled": str(job.bytes_billed),
        "totalSlotMs": str(0 if job.cache_hit else 7),
        "cacheHit": job.cache_hit,
        "statementType": job.statement_type,
    }
    if job.dml:
        query["numDmlAffectedRows"] = str(job.inserted + job.deleted)
        query["dmlStats"] = {
            "insertedRowCount": str(job.inserted),
            "deletedRowCount": str(job.deleted),
            "updatedRowCount": "0",
        }
    created = str(int(job.created * 1000))
    statistics: Body = {"creationTime": created, "startTime": created}
    if job.kind == "load":
        statistics["load"] = {"outputRows": str(job.output_rows)}
    else:
        statistics["query"] = query
        statistics["totalBytesProcessed"] = query["totalBytesProcessed"]
        statistics["totalSlotMs"] = query["totalSlotMs"]
    return {
        "kind": "bigquery#job",
        "id": f"{job.project}:{job.location}.{job.id}",
        "jobReference": {"projectId": job.project, "jobId": job.id, "location": job.location},
        "configuration": job.configuration,
        "status": status,
        "statistics": statistics,
    }


def results(job: Job, parameters: Mapping[str, str]) -> Body:
    """A page of a query's rows, or that it is not done."""
    reference = job_resource(job)["jobReference"]
    if not job.ended.wait(float(parameters.get("timeoutMs", 10_000)) / 1000):
        return {"jobReference": reference, "jobComplete": False}
    if job.error is not None:
        raise job.error
    body: Body = {
        "jobReference": reference,
        "jobComplete": True,
        "schema": {"fields": job.schema},
        "cacheHit": job.cache_hit,
        "totalBytesProcessed": str(job.bytes_processed),
        **page(job.rows, parameters, 50_000),
    }
    if job.dml:
        body["numDmlAffectedRows"] = str(job.inserted + job.deleted)
    return body


def table_resource(engine: Engine, table: Table) -> Body:
    """A table as the interface shows it."""
    project, dataset, name = table.name
    body: Body = {
        "kind": "bigquery#table",
        "etag": table.version,
        "id": f"{project}:{dataset}.{name}",
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": name},
        "schema": {"fields": table.schema},
        "type": table.kind,
        "location": table.location,
        "numRows": str(engine.rows(table) if table.lagging is None else table.lagging),
        "labels": dict(table.labels),
    }
    if table.description:
        body["description"] = table.description
    if table.kind == "VIEW":
        body["view"] = {"query": table.view, "useLegacySql": False}
    if table.partition:
        body["timePartitioning"] = {"type": table.unit, "field": table.partition}
        if table.partitions_last:
            last = table.partitions_last // timedelta(milliseconds=1)
            body["timePartitioning"]["expirationMs"] = str(last)
    if table.filtered:
        body["requirePartitionFilter"] = True
    if table.key:
        body["encryptionConfiguration"] = {"kmsKeyName": f"{table.key}/cryptoKeyVersions/1"}
    if table.clustering:
        body["clustering"] = {"fields": table.clustering}
    if table.expires:
        body["expirationTime"] = str(micros(table.expires) // 1000)
    return body
