"""The same copy with dlt, written as its documentation advises; runs in an environment of its own.

    python with_dlt.py URL WALLETS_FILE DIRECTORY EXTRACT_WORKERS NORMALIZE_WORKERS ITEMS

REST client with the cursor paginator, a resource of wallets, a parallelized transformer, pages of
1,000 rows yielded whole, Parquet as the loader's format, DuckDB as the destination. ITEMS is
`dicts`, or `arrow`: then each page becomes an Arrow table, which spares dlt its normalization row
by row. Prints the rows it has loaded. Telemetry and downloads of DuckDB's extensions are off.
"""

# pyright: reportMissingImports=false

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

url, wallets_file, directory, extracting, normalizing, items = sys.argv[1:]
os.environ.update(
    {
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "DLT_DATA_DIR": directory,
        "DLT_PROJECT_DIR": directory,
        "EXTRACT__WORKERS": extracting,
        # So many pages may wait for a free worker, and the workers never wait for pages.
        "EXTRACT__MAX_PARALLEL_ITEMS": str(2 * int(extracting)),
        "NORMALIZE__WORKERS": normalizing,
        # Files of a bounded size are what several workers can share.
        "DATA_WRITER__FILE_MAX_ITEMS": "100000",
        "DATA_WRITER__BUFFER_MAX_ITEMS": "20000",
    }
)

# The environment above is read on import.
import dlt  # noqa: E402
from dlt.destinations import duckdb as to_duckdb  # noqa: E402
from dlt.destinations.impl.duckdb.configuration import DuckDbCredentials  # noqa: E402
from dlt.sources.helpers.rest_client import RESTClient  # noqa: E402
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator  # noqa: E402

client = RESTClient(base_url=url, data_selector="data")


@dlt.resource
def wallets() -> Iterator[str]:
    """The addresses."""
    yield from Path(wallets_file).read_text().split()


@dlt.transformer(
    data_from=wallets, parallelized=True, write_disposition="append", max_table_nesting=0
)
def trades(wallet: str) -> Iterator[Any]:
    """All pages of one wallet."""
    pages = client.paginate(
        "/v2/trades",
        params={"user": wallet, "limit": 1000, "taker_only": "false", "start": 1},
        paginator=JSONResponseCursorPaginator(
            cursor_path="pagination.next_cursor", cursor_param="cursor"
        ),
    )
    for page in pages:
        if items == "arrow" and page:
            import pyarrow as pa  # noqa: PLC0415 - only this variant needs it

            yield pa.Table.from_pylist(list(page))
        else:
            yield page


def main() -> None:
    """Runs the pipeline, and prints how many rows the table has."""
    path = Path(directory) / "dlt.duckdb"
    credentials = DuckDbCredentials(
        str(path),
        global_config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    pipeline = dlt.pipeline(
        "trades",
        destination=to_duckdb(credentials),
        dataset_name="polymarket",
        pipelines_dir=directory,
    )
    pipeline.run(trades, loader_file_format="parquet").raise_on_failed_jobs()
    with pipeline.sql_client() as sql, sql.execute_query("SELECT count(*) FROM trades") as found:
        print(found.fetchone()[0])


if __name__ == "__main__":
    main()
