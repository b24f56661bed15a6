-- Rows that we loaded: they carry one of @sources, and the address as @wallets has it.
SELECT wallet_address, COUNT(*) AS row_count
FROM `$trades`
WHERE wallet_address IN UNNEST(@wallets) AND source IN UNNEST(@sources)
GROUP BY wallet_address
