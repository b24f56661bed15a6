-- Deletes an older job's rows inside the claims of $claims whose address is not in lower case.
DELETE FROM {table} USING read_parquet($claims) AS claims
WHERE address({table}.wallet_address) = claims.wallet_address
  AND {table}.wallet_address != claims.wallet_address
  AND {table}.timestamp >= moment(0)
  AND {table}.timestamp < moment(claims.until * 1000000);
