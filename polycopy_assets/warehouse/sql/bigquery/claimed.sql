-- What the table holds inside the claims of the staged batch: how many rows, and from when to when.
SELECT COUNT(*) AS row_count, MIN(T.timestamp) AS low, MAX(T.timestamp) AS high
FROM `$trades` AS T
JOIN `$staging` AS S
ON S.claim_until IS NOT NULL
    AND T.wallet_address = S.wallet_address
    AND T.timestamp >= S.claim_start
    AND T.timestamp < S.claim_until
WHERE T.timestamp >= @low
    AND T.timestamp < @high
    AND T.wallet_address >= @first
    AND T.wallet_address <= @last
    AND (@many OR T.wallet_address IN UNNEST(@wallets))
