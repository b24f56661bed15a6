"""Whether all rows of a BigQuery table can be read."""

from collections.abc import Mapping
from typing import Any

from google.api_core import exceptions
from google.cloud import bigquery

from polycopy_assets.errors import Unsuitable
from polycopy_assets.text import MESSAGE, said_by
from polycopy_assets.warehouse.bigquery.failing import failing, reason_of, translated


def check_whole(
    client: bigquery.Client, table: bigquery.Table, where: str, request: Mapping[str, Any]
) -> None:
    """Raises Unsuitable if we may not see all rows of a table; costs nothing.

    With row-level security, a query sees only the rows that it may. Listing rows is refused
    instead, unless a policy grants them all. `request` are the options of the request.
    """
    with failing(f"cannot read table {table.table_id} of {where}", exceptions.Forbidden):
        try:
            next(iter(client.list_rows(table, max_results=1, **request)), None)
        except exceptions.Forbidden as error:
            if reason_of(error) != "accessDenied":
                raise translated(f"cannot read table {table.table_id}", error) from error
            raise Unsuitable(
                f"not all rows of table {table.table_id} in {where} can be read. If it has"
                " row-level security, grant this account all rows (CREATE ROW ACCESS POLICY …"
                f" FILTER USING (TRUE)). Google says: {said_by(error.message, MESSAGE)}"
            ) from error
