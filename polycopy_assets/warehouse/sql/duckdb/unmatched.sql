-- What only one of two tables has, inside the claims of $claims, which start at the beginning: the
-- first $limit of each kind. Shares are compared to the millionth, the grain of the chain, as
-- floats: there may be more than an integer holds.
WITH rows_of_both AS (
    SELECT
        wallet_address,
        epoch_us("timestamp") AS micros,
        lower(tx_hash) AS tx_hash,
        token_id,
        side,
        round(shares_normalized, 6) AS shares,
        1 AS surplus,
        FALSE AS is_combo,
        source != 'polymarket' AS is_of_another
    FROM {fills}
    UNION ALL
    SELECT
        wallet_address,
        epoch_us("timestamp"),
        lower(tx_hash),
        token_id,
        side,
        round(CAST(shares AS DOUBLE), 6),
        -1,
        is_combo,
        FALSE
    FROM {ledger}
    WHERE type = 'TRADE'
),

differing AS (
    SELECT
        B.wallet_address AS wallet,
        CAST(make_timestamp(min(B.micros)) AS DATE) AS day,
        B.tx_hash,
        B.token_id,
        B.side,
        B.shares,
        sum(B.surplus) AS surplus,
        bool_or(B.is_combo) AS is_combo,
        bool_or(B.is_of_another) AS is_of_another
    FROM rows_of_both AS B
    INNER JOIN read_parquet($claims) AS C ON B.wallet_address = C.wallet_address
    WHERE B.micros >= 0 AND B.micros < C.until * 1000000
    GROUP BY B.wallet_address, B.tx_hash, B.token_id, B.side, B.shares
    HAVING sum(B.surplus) != 0
),

in_transactions AS (
    SELECT
        *,
        tx_hash IS NOT NULL
        AND bool_or(is_of_another) OVER (PARTITION BY wallet, tx_hash)
        AND sum(IF(surplus < 0 AND (is_combo OR shares < 0.01), 0, surplus))
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
)

SELECT why, sum(abs(surplus)) OVER (PARTITION BY why), wallet, day, tx_hash, abs(surplus)
FROM told_apart
QUALIFY row_number() OVER (
    PARTITION BY why ORDER BY wallet, day, tx_hash, token_id, side, shares
) <= $limit
ORDER BY why, wallet, day, tx_hash, token_id, side, shares;
