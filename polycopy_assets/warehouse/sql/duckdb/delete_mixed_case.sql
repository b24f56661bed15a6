-- Deletes an older job's rows inside the claims of $claims whose address is not in lower case.
DELETE FROM trades USING read_parquet($claims) AS claims
WHERE address(trades.wallet_address) = claims.wallet_address
  AND trades.wallet_address != claims.wallet_address
  AND trades.timestamp >= moment(0)
  AND trades.timestamp < moment(claims.until * 1000000);
