-- Inserts only rows inside the claims: other rows of a file do not belong to the batch.
INSERT INTO {table} BY NAME
SELECT
    {chosen}
FROM read_parquet($parts) AS parts
SEMI JOIN claims
    ON parts.wallet_address = claims.wallet_address
    AND as_stored(parts.timestamp) >= claims.start
    AND as_stored(parts.timestamp) < claims.until;
