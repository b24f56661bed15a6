"""A strict double of BigQuery's REST interface, with DuckDB inside.

It keeps what the documentation promises and what emulators get wrong: a job id is used once, a
load is all or nothing, bytes are billed and capped, DML on a table queues, an etag is checked.
"""

from polycopy_assets_tests.fakes.bigquery.model import Job, JobError
from polycopy_assets_tests.fakes.bigquery.server import Double
from polycopy_assets_tests.fakes.bigquery.serving import bigquery_double

__all__ = ["Double", "Job", "JobError", "bigquery_double"]
