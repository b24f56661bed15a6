-- Reads one column, from a given month on; earlier partitions are not read.
SELECT DATE(TIMESTAMP_TRUNC(T.timestamp, MONTH)) AS month, COUNT(*) AS $name
FROM `$table` AS T
WHERE T.timestamp >= @since
GROUP BY month
