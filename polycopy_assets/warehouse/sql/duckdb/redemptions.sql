-- Which token was redeemed: the one that the row names, or else the only one of its condition that
-- pays as the row did, something or nothing. Of a condition whose sides both pay it is not known.
WITH paid AS (
    SELECT
        condition_id,
        count(*) FILTER (WHERE final_price > 0) AS winners,
        count(*) FILTER (WHERE final_price = 0) AS losers,
        max(token_id) FILTER (WHERE final_price > 0) AS winner,
        max(token_id) FILTER (WHERE final_price = 0) AS loser
    FROM tokens
    WHERE valid_until IS NULL
    GROUP BY condition_id
),

redeemed AS (
    SELECT
        T.*,
        coalesce(
            T.token_id,
            CASE
                WHEN T.usdc > 0 AND P.winners = 1 THEN P.winner
                WHEN T.usdc = 0 AND P.losers = 1 THEN P.loser
            END
        ) AS redeemed_token
    FROM {table} AS T
    LEFT JOIN paid AS P ON lower(rpad(T.condition_id, 66, '0')) = P.condition_id
    WHERE T.type = 'REDEEM'
)

SELECT
    R.wallet_address,
    R.id,
    R.sequence,
    R."timestamp",
    R.condition_id,
    R.redeemed_token AS token_id,
    coalesce(R.outcome_index, O.outcome_index) AS outcome_index,
    O.outcome,
    coalesce(R.title, O.title) AS title,
    coalesce(R.market_slug, O.market_slug) AS market_slug,
    coalesce(R.event_slug, O.event_slug) AS event_slug,
    R.is_combo,
    R.shares,
    R.usdc,
    R.usdc > 0 AS is_paid,
    R.tx_hash
FROM redeemed AS R
LEFT JOIN tokens AS O ON R.redeemed_token = O.token_id AND O.valid_until IS NULL
