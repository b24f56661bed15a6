-- Holdings below nothing, counted from the first row on: the first @limit of them, and how many
-- cannot be judged. It reads the rows since @since. If these are not all, only tokens of markets
-- that opened since then are judged: all their rows are among them.
WITH moves AS (
    SELECT
        T.wallet_address,
        LOWER(RPAD(T.condition_id, 66, '0')) AS condition_id,
        T.token_id,
        CASE WHEN T.type = 'MERGE' THEN 'SPLIT' ELSE T.type END AS kind,
        T.usdc > 0 AS is_paid,
        LOGICAL_OR(T.is_combo) AS is_combo,
        LOGICAL_OR(
            CASE WHEN T.type IN ('SPLIT', 'MERGE') THEN T.usdc ELSE T.shares END IS NULL
        ) AS is_untold,
        SUM(
            CASE
                WHEN T.type = 'TRADE' AND T.side = 'BUY' THEN T.shares
                WHEN T.type = 'TRADE' AND T.side = 'SELL' THEN -T.shares
                WHEN T.type = 'SPLIT' THEN T.usdc
                WHEN T.type = 'MERGE' THEN -T.usdc
                WHEN T.type = 'REDEEM' THEN -T.shares
                WHEN T.type = 'CONVERSION' THEN T.shares
            END
        ) AS shares,
        SUM(IF(T.type = 'CONVERSION', T.usdc + T.shares, 0)) AS taken,
        MAX(
            IF(
                T.type IN ('MERGE', 'REDEEM', 'CONVERSION') OR T.side = 'SELL', T.timestamp, NULL
            )
        ) AS last
    FROM `$ledger` AS T
    WHERE
        T.timestamp >= @since
        AND T.type IN ('TRADE', 'SPLIT', 'MERGE', 'REDEEM', 'CONVERSION')
        AND T.wallet_address NOT IN UNNEST(@left_out)
    GROUP BY T.wallet_address, LOWER(RPAD(T.condition_id, 66, '0')), T.token_id, kind, is_paid
),

outcomes AS (
    SELECT
        *,
        SUM(IF(final_price > 0, 1, 0)) OVER (PARTITION BY condition_id) AS winners,
        SUM(IF(final_price = 0, 1, 0)) OVER (PARTITION BY condition_id) AS losers
    FROM `$tokens`
    WHERE valid_until IS NULL
),

moved AS (
    SELECT wallet_address, condition_id, token_id, is_combo, is_untold, shares, last
    FROM moves
    WHERE kind IN ('TRADE', 'REDEEM') AND token_id IS NOT NULL
    UNION ALL
    SELECT
        V.wallet_address,
        V.condition_id,
        O.token_id,
        V.is_combo,
        V.is_untold,
        V.shares,
        V.last
    FROM moves AS V
    INNER JOIN outcomes AS O ON V.condition_id = O.condition_id
    WHERE
        V.kind = 'SPLIT'
        OR V.kind = 'REDEEM'
        AND V.token_id IS NULL
        AND (
            V.is_paid AND O.final_price > 0 AND O.winners = 1
            OR NOT V.is_paid AND O.final_price = 0 AND O.losers = 1
        )
),

holdings AS (
    SELECT
        wallet_address,
        MAX(condition_id) AS condition_id,
        token_id,
        LOGICAL_OR(is_combo) AS is_combo,
        LOGICAL_OR(is_untold) AS is_untold,
        SUM(shares) AS shares,
        MAX(last) AS last
    FROM moved
    GROUP BY wallet_address, token_id
),

events AS (
    SELECT condition_id AS named, neg_risk_market_id
    FROM outcomes
    WHERE neg_risk_market_id IS NOT NULL
    UNION DISTINCT
    SELECT neg_risk_market_id, neg_risk_market_id
    FROM outcomes
    WHERE neg_risk_market_id IS NOT NULL
),

-- The event is the empty text if it is not known, or not how much was converted.
conversions AS (
    SELECT
        V.wallet_address,
        CASE WHEN V.is_untold THEN '' ELSE COALESCE(E.neg_risk_market_id, '') END AS event,
        SUM(V.shares) AS shares,
        SUM(V.taken) AS taken,
        MAX(V.last) AS last
    FROM moves AS V
    LEFT JOIN events AS E ON V.condition_id = E.named
    WHERE V.kind = 'CONVERSION'
    GROUP BY V.wallet_address, event
),

-- A market may be traded some hours before the date at which it is said to open.
opened AS (
    SELECT condition_id
    FROM `$markets`
    WHERE valid_until IS NULL AND start_date >= TIMESTAMP_ADD(@since, INTERVAL 1 DAY)
),

judged AS (
    SELECT
        H.wallet_address,
        H.condition_id,
        H.token_id,
        H.shares,
        H.last,
        O.outcome_index,
        O.neg_risk_market_id AS event,
        O.token_id IS NULL AND NOT H.is_combo AND H.shares > 0 AS may_be_no,
        CASE
            WHEN M.condition_id IS NULL AND @since > TIMESTAMP '0001-01-01' THEN 'older'
            WHEN H.shares >= 0 THEN 'held'
            WHEN O.token_id IS NULL THEN 'unknown'
            WHEN H.is_untold THEN 'untold'
            WHEN N.event IS NOT NULL THEN 'converted'
            WHEN O.outcome_index = 0 AND H.shares + C.shares >= 0 THEN 'converted'
            ELSE 'below'
        END AS why
    FROM holdings AS H
    LEFT JOIN outcomes AS O ON H.token_id = O.token_id
    LEFT JOIN conversions AS C
        ON H.wallet_address = C.wallet_address AND O.neg_risk_market_id = C.event
    LEFT JOIN conversions AS N ON H.wallet_address = N.wallet_address AND N.event = ''
    LEFT JOIN opened AS M ON H.condition_id = M.condition_id
),

strangers AS (
    SELECT DISTINCT wallet_address
    FROM judged
    WHERE may_be_no
),

older AS (
    SELECT DISTINCT O.neg_risk_market_id AS event
    FROM outcomes AS O
    LEFT JOIN opened AS M ON O.condition_id = M.condition_id
    WHERE M.condition_id IS NULL AND @since > TIMESTAMP '0001-01-01'
),

-- Conversions took more No of an event than there was of all its questions, all of which are known
-- and opened since then.
overdrawn AS (
    SELECT J.wallet_address, J.event, SUM(J.shares) - C.taken AS shares, C.last
    FROM judged AS J
    INNER JOIN conversions AS C ON J.wallet_address = C.wallet_address AND J.event = C.event
    LEFT JOIN strangers AS S ON J.wallet_address = S.wallet_address
    LEFT JOIN older AS W ON J.event = W.event
    WHERE J.outcome_index = 1 AND S.wallet_address IS NULL AND W.event IS NULL
    GROUP BY J.wallet_address, J.event, C.taken, C.last
    HAVING
        SUM(J.shares) < C.taken
        AND MIN(J.shares) >= 0
),

every AS (
    SELECT why, wallet_address, condition_id, token_id, shares, last
    FROM judged
    UNION ALL
    SELECT 'below', wallet_address, event, NULL, shares, last
    FROM overdrawn
    UNION ALL
    SELECT 'untold', V.wallet_address, V.condition_id, NULL, V.shares, V.last
    FROM moves AS V
    LEFT JOIN outcomes AS O
        ON
            V.condition_id = O.condition_id
            AND (
                V.kind = 'SPLIT'
                OR V.is_paid AND O.final_price > 0 AND O.winners = 1
                OR NOT V.is_paid AND O.final_price = 0 AND O.losers = 1
            )
    WHERE V.kind IN ('SPLIT', 'REDEEM') AND V.token_id IS NULL AND O.token_id IS NULL
),

ranked AS (
    SELECT
        *,
        COUNT(*) OVER (PARTITION BY why) AS total,
        ROW_NUMBER() OVER (
            PARTITION BY why ORDER BY wallet_address, condition_id, token_id
        ) AS place
    FROM every
)

SELECT
    why,
    total,
    wallet_address,
    condition_id,
    token_id,
    shares,
    DATE(last) AS day
FROM ranked
WHERE place <= @limit AND why = 'below' OR place = 1
ORDER BY why, place
