-- The rows of every wallet, and those inside the claims of $claims, which start at the beginning.
SELECT
    address(trades.wallet_address) AS wallet,
    count(*),
    count(*) FILTER (
        WHERE trades.timestamp >= moment(0)
          AND trades.timestamp < moment(claims.until * 1000000)
    ),
    count(DISTINCT trades.id) FILTER (
        WHERE trades.timestamp >= moment(0)
          AND trades.timestamp < moment(claims.until * 1000000)
          AND trades.source IS NOT NULL
          AND trades.wallet_address = claims.wallet_address
    ),
    count(*) FILTER (
        WHERE trades.wallet_address != address(trades.wallet_address)
    )
FROM trades
LEFT JOIN read_parquet($claims) AS claims
    ON address(trades.wallet_address) = claims.wallet_address
GROUP BY wallet;
