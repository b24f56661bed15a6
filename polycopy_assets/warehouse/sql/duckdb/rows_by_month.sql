SELECT CAST(date_trunc('month', make_timestamp(epoch_us("timestamp"))) AS DATE) AS month, count(*) AS {table}
FROM {table}
WHERE "timestamp" IS NOT NULL
GROUP BY month
