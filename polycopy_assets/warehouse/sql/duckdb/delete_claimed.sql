-- Deletes the table's rows inside the claims; the batch replaces them.
DELETE FROM {table} USING claims
WHERE {table}.wallet_address = claims.wallet_address
  AND {table}.timestamp >= claims.start
  AND {table}.timestamp < claims.until;
