SELECT CAST(date_trunc('month', make_timestamp(epoch_us("timestamp"))) AS DATE) AS month, count(*) AS trades
FROM trades
WHERE "timestamp" IS NOT NULL
GROUP BY month
