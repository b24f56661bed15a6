-- The tables of the warehouse. An older `{table}` with fewer columns is widened, never dropped.
CREATE TABLE IF NOT EXISTS traders (wallet_address VARCHAR);

CREATE TABLE IF NOT EXISTS {table} (
    {definitions}
);

-- Which batches `{table}` holds, and of which store; written in the transaction that loads them.
CREATE TABLE IF NOT EXISTS {batches} (
    batch BIGINT,
    rows BIGINT,
    loaded_at TIMESTAMP,
    store VARCHAR
);

ALTER TABLE {batches} ADD COLUMN IF NOT EXISTS store VARCHAR;

{additions}
