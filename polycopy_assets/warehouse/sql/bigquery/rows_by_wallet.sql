SELECT wallet_address, COUNT(*) AS row_count
FROM `$trades`
GROUP BY wallet_address
