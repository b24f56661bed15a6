-- Deletes the rows that loaded_rows.sql counts.
DELETE FROM {table}
WHERE wallet_address IN (SELECT unnest($wallets::VARCHAR[]))
  AND source IN (SELECT unnest($sources::VARCHAR[]));
