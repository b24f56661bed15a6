-- What an older job put inside the claims of $claims under an address that is not in lower case.
DELETE FROM trades USING read_parquet($claims) AS claims
WHERE address(trades.wallet_address) = claims.wallet_address
  AND trades.wallet_address != claims.wallet_address
  AND trades.timestamp >= make_timestamp(0)
  AND trades.timestamp < make_timestamp(claims.until * 1000000);
