-- Rows that we loaded: they carry one of $sources, and the address as $wallets has it.
SELECT wallet_address, count(*)
FROM trades
WHERE wallet_address IN (SELECT unnest($wallets::VARCHAR[]))
  AND source IN (SELECT unnest($sources::VARCHAR[]))
GROUP BY wallet_address;
