-- Rows that we loaded: their source is one of $sources, and their address is spelled as in
-- $wallets.
SELECT wallet_address, count(*)
FROM {table}
WHERE wallet_address IN (SELECT unnest($wallets::VARCHAR[]))
  AND source IN (SELECT unnest($sources::VARCHAR[]))
GROUP BY wallet_address;
