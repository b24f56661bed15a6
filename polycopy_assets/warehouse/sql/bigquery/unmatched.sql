-- What only one of two tables has, inside the claims, which start at the beginning: the first of
-- each kind. A packed claim is an address (42 characters) and the second at which the claim ends
-- (ten digits). Shares are compared to the millionth, the grain of the chain, as floats: there may
-- be more than an integer holds. Earlier months are not read.
WITH claims AS (
    SELECT
        SUBSTR(packed, 1, 42) AS wallet_address,
        TIMESTAMP_SECONDS(CAST(SUBSTR(packed, 43, 10) AS INT64)) AS until
    FROM UNNEST(SPLIT(@claims, ',')) AS packed
    WHERE packed != ''
),

rows_of_both AS (
    SELECT
        T.wallet_address,
        T.timestamp,
        LOWER(T.tx_hash) AS tx_hash,
        T.token_id,
        T.side,
        ROUND(T.shares_normalized, 6) AS shares,
        1 AS surplus,
        FALSE AS is_combo,
        T.source != 'polymarket' AS is_of_another
    FROM `$fills` AS T
    WHERE T.timestamp >= @since
    UNION ALL
    SELECT
        T.wallet_address,
        T.timestamp,
        LOWER(T.tx_hash),
        T.token_id,
        T.side,
        ROUND(CAST(T.shares AS FLOAT64), 6),
        -1,
        T.is_combo,
        FALSE
    FROM `$ledger` AS T
    WHERE T.timestamp >= @since AND T.type = 'TRADE'
),

differing AS (
    SELECT
        B.wallet_address AS wallet,
        DATE(MIN(B.timestamp)) AS day,
        B.tx_hash,
        B.token_id,
        B.side,
        B.shares,
        SUM(B.surplus) AS surplus,
        LOGICAL_OR(B.is_combo) AS is_combo,
        LOGICAL_OR(B.is_of_another) AS is_of_another
    FROM rows_of_both AS B
    INNER JOIN claims AS C ON B.wallet_address = C.wallet_address
    WHERE B.timestamp >= TIMESTAMP_SECONDS(0) AND B.timestamp < C.until
    GROUP BY B.wallet_address, B.tx_hash, B.token_id, B.side, B.shares
    HAVING SUM(B.surplus) != 0
),

in_transactions AS (
    SELECT
        *,
        tx_hash IS NOT NULL
        AND LOGICAL_OR(is_of_another) OVER (PARTITION BY wallet, tx_hash)
        AND SUM(IF(surplus < 0 AND (is_combo OR shares < 0.01), 0, surplus))
            OVER (PARTITION BY wallet, tx_hash) = 0 AS is_told_otherwise
    FROM differing
),

told_apart AS (
    SELECT
        *,
        CASE
            WHEN surplus < 0 AND is_combo THEN 'combo'
            WHEN surplus < 0 AND shares < 0.01 THEN 'dust'
            WHEN is_told_otherwise THEN 'told otherwise'
            WHEN surplus > 0 THEN 'not in the ledger'
            ELSE 'only in the ledger'
        END AS why
    FROM in_transactions
),

ranked AS (
    SELECT
        *,
        SUM(ABS(surplus)) OVER (PARTITION BY why) AS total,
        ROW_NUMBER() OVER (
            PARTITION BY why ORDER BY wallet, day, tx_hash, token_id, side, shares
        ) AS place
    FROM told_apart
)

SELECT why, total, wallet, day, tx_hash, ABS(surplus) AS found
FROM ranked
WHERE place <= @limit
ORDER BY why, place
