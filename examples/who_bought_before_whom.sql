-- Which wallet bought outcomes before which other one, and how many of them? A pair that stands
-- high in one order and low in the other may be a leader and a follower.
WITH first_buys AS (
    SELECT token_id, wallet_address, MIN(timestamp) AS bought_at
    FROM trades
    WHERE side = 'BUY' AND token_id IS NOT NULL
    GROUP BY token_id, wallet_address
)

SELECT
    A.wallet_address AS earlier,
    B.wallet_address AS later,
    COUNT(*) AS outcomes
FROM first_buys AS A
JOIN first_buys AS B
    ON A.token_id = B.token_id
    AND A.bought_at < B.bought_at
GROUP BY A.wallet_address, B.wallet_address
ORDER BY outcomes DESC, earlier, later
LIMIT 20
