-- The rows of every wallet, and those inside the claims of $claims, which start at the beginning.
SELECT
    address({table}.wallet_address) AS wallet,
    count(*),
    count(*) FILTER (
        WHERE {table}.timestamp >= moment(0)
          AND {table}.timestamp < moment(claims.until * 1000000)
    ),
    count(DISTINCT {table}.id) FILTER (
        WHERE {table}.timestamp >= moment(0)
          AND {table}.timestamp < moment(claims.until * 1000000)
          AND {table}.source IS NOT NULL
          AND {table}.wallet_address = claims.wallet_address
    ),
    count(*) FILTER (
        WHERE {table}.wallet_address != address({table}.wallet_address)
    )
FROM {table}
LEFT JOIN read_parquet($claims) AS claims
    ON address({table}.wallet_address) = claims.wallet_address
GROUP BY wallet;
