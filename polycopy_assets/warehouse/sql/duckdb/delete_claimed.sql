-- Deletes the table's rows inside the claims; the batch replaces them.
DELETE FROM trades USING claims
WHERE trades.wallet_address = claims.wallet_address
  AND trades.timestamp >= claims.start
  AND trades.timestamp < claims.until;
