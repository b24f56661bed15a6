-- The columns may have other types, usually STRING. Any value not clearly true counts as not
-- completed, and a value that is not a time as no date. A count that is not a number is -1, which
-- matches no file; NULL would be weaker evidence, but could still match. Cast through STRING,
-- because a number cannot be cast to a time, not even by SAFE_CAST.
SELECT
    wallet_address,
    SAFE_CAST(completed AS BOOL) AS completed,
    SAFE_CAST(CAST(processed_at AS STRING) AS TIMESTAMP) AS processed_at,
    IF(trade_count IS NULL, NULL, IFNULL(SAFE_CAST(trade_count AS INT64), -1)) AS trade_count,
    CAST(gcs_file AS STRING) AS gcs_file,
    SAFE_CAST(upload_successful AS BOOL) AS upload_successful
FROM `$checkpoint`
