SELECT wallet_address, id, count(*) AS copies
FROM {table}
GROUP BY wallet_address, id
HAVING count(*) > 1
ORDER BY wallet_address, id
LIMIT $limit;
