-- What the table holds inside the claims; the batch replaces it.
DELETE FROM trades USING claims
WHERE trades.wallet_address = claims.wallet_address
  AND trades.timestamp >= claims.start
  AND trades.timestamp < claims.until;
