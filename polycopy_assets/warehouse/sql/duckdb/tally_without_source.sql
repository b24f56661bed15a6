-- The same for a table that the old job created: none of its rows are ours.
SELECT
    address(trades.wallet_address) AS wallet,
    count(*),
    count(*) FILTER (
        WHERE trades.timestamp >= moment(0)
          AND trades.timestamp < moment(claims.until * 1000000)
    ),
    0,
    count(*) FILTER (
        WHERE trades.wallet_address != address(trades.wallet_address)
    )
FROM trades
LEFT JOIN read_parquet($claims) AS claims
    ON address(trades.wallet_address) = claims.wallet_address
GROUP BY wallet;
