-- The same for a table that the old job created: none of its rows are ours.
SELECT
    address({table}.wallet_address) AS wallet,
    count(*),
    count(*) FILTER (
        WHERE {table}.timestamp >= moment(0)
          AND {table}.timestamp < moment(claims.until * 1000000)
    ),
    0,
    count(*) FILTER (
        WHERE {table}.wallet_address != address({table}.wallet_address)
    )
FROM {table}
LEFT JOIN read_parquet($claims) AS claims
    ON address({table}.wallet_address) = claims.wallet_address
GROUP BY wallet;
