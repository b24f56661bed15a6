"""The tables `tokens` and `markets` in a BigQuery dataset."""

import uuid

from google.api_core import exceptions
from google.cloud import bigquery

from polycopy_assets.dimensions.columns import DIMENSIONS, schema
from polycopy_assets.errors import Unsuitable, WarehouseError
from polycopy_assets.feeds.known import FEEDS
from polycopy_assets.warehouse.bigquery.dataset import REFUSED, Dataset
from polycopy_assets.warehouse.bigquery.failing import translated
from polycopy_assets.warehouse.bigquery.relations import OURS, Relations
from polycopy_assets.warehouse.bigquery.table import fields
from polycopy_assets.warehouse.feed_table import Parts


class BigQueryDimensions:
    """See `warehouse.base.DimensionTables`. A load job, which bills nothing."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def replace(self, name: str, file: str, rows: int, files: Parts) -> None:
        """Replaces the rows and columns of table `name` by those of the file, in one load job."""
        table = self._ours(name)
        table.schema = fields(schema(name), DIMENSIONS[name][1].columns)
        jobs = self._dataset.jobs
        # The id is not derived from the file: others may have changed the table since.
        job = jobs.run(
            bigquery.LoadJob,
            f"polycopy_load_{name}_{uuid.uuid4().hex[:16]}",
            lambda job_id, labels: jobs.begin_load([files.uri(file)], table, job_id, labels),
            accept=lambda _: True,
        )
        if job.output_rows != rows:
            raise WarehouseError(f"{file} should have {rows} rows, and has {job.output_rows}")

    def describe(self) -> None:
        """Makes the views on both and on the tables of feeds; bills nothing."""
        for feed in FEEDS.values():
            Relations(self._dataset, feed).describe_joined()

    def _ours(self, name: str) -> bigquery.Table:
        """The table, made if it is missing; raises Unsuitable if it is somebody else's."""
        found = self._dataset.found(name) or self._made(name)
        if OURS not in found.labels:
            raise Unsuitable(
                f"{self._dataset.uri} has a {(found.table_type or 'TABLE').lower()} {name} that"
                " polycopy did not make, and would be replaced as a whole: rename it"
            )
        return found

    def _made(self, name: str) -> bigquery.Table:
        self._dataset.check_lasting()
        relation = DIMENSIONS[name][1]
        table = bigquery.Table(
            self._dataset.name(name), schema=fields(schema(name), relation.columns)
        )
        table.description, table.labels = relation.meaning, {OURS: "dimension"}
        try:
            return self._dataset.create(table)
        except REFUSED as error:
            # A Conflict: it was made meanwhile, or our first request succeeded.
            conflict = isinstance(error, exceptions.Conflict)
            if conflict and (found := self._dataset.found(name)):
                return found
            raise translated(f"cannot make table {name} of {self._dataset.uri}", error) from error
