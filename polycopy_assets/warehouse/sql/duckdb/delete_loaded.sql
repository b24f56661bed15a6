-- As loaded_rows.sql counts them.
DELETE FROM trades
WHERE wallet_address IN (SELECT unnest($wallets::VARCHAR[]))
  AND source IN (SELECT unnest($sources::VARCHAR[]));
