-- What did one wallet do in one market? Here it is the wallet and market with the most trades: put
-- your own into `chosen`. Sorted by sequence within a second, as the trades happened.
WITH chosen AS (
    SELECT wallet_address, condition_id
    FROM trades
    WHERE condition_id IS NOT NULL
    GROUP BY wallet_address, condition_id
    ORDER BY COUNT(*) DESC, wallet_address, condition_id
    LIMIT 1
)

SELECT
    T.timestamp,
    T.side,
    T.token_label,
    T.price,
    T.shares_normalized,
    SUM(CASE T.side WHEN 'BUY' THEN T.shares_normalized ELSE -T.shares_normalized END) OVER (
        PARTITION BY T.token_id
        ORDER BY T.timestamp, T.sequence
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS shares_so_far
FROM trades AS T
JOIN chosen AS C
    ON T.wallet_address = C.wallet_address
    AND T.condition_id = C.condition_id
ORDER BY T.timestamp, T.sequence
