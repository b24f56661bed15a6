SELECT wallet_address, id, COUNT(*) AS copies
FROM `$table`
WHERE timestamp >= @since
GROUP BY wallet_address, id
HAVING COUNT(*) > 1
ORDER BY wallet_address, id
LIMIT @limit
