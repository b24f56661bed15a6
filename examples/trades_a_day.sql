-- How many trades were there on each day (UTC), by how many wallets?
SELECT
    day,
    SUM(trades) AS trades,
    COUNT(*) AS wallets,
    ROUND(SUM(volume_usdc), 2) AS volume_usdc
FROM daily_trades
GROUP BY day
ORDER BY day
