"""An asset of the project's own, downstream of the table `trades`."""

from pathlib import Path

import dagster as dg
import duckdb

FILE = Path(__file__).parents[2] / "data" / "trades.duckdb"
VOLUME = """
CREATE OR REPLACE TABLE daily_volume AS
SELECT
    wallet_address,
    CAST(timestamp AS DATE) AS day,
    count(*) AS trades,
    sum(price * shares_normalized) AS usdc
FROM trades
GROUP BY ALL
"""


@dg.asset(deps=["trades"], pool="warehouse", kinds={"duckdb"})
def daily_volume() -> dg.MaterializeResult:
    """Trades and USDC of each wallet and UTC day; one process at a time may write the file."""
    with duckdb.connect(FILE) as database:
        database.execute(VOLUME)
        rows = database.execute("SELECT count(*) FROM daily_volume").fetchall()[0][0]
    return dg.MaterializeResult(metadata={"dagster/row_count": rows})
