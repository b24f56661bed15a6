-- Rows that we loaded: their source is one of @sources, and their address is spelled as in
-- @wallets.
SELECT wallet_address, COUNT(*) AS row_count
FROM `$table`
WHERE wallet_address IN UNNEST(@wallets) AND source IN UNNEST(@sources)
GROUP BY wallet_address
