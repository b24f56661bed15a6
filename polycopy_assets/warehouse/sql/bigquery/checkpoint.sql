-- The columns may be of other types, STRING above all. What is no truth counts as not ticked, what is
-- no time as no date, and a count that is no number as one that nothing bears out: without a count
-- less has to agree. By way of text, because a number cannot be cast to a time, safely or not.
SELECT
    wallet_address,
    SAFE_CAST(completed AS BOOL) AS completed,
    SAFE_CAST(CAST(processed_at AS STRING) AS TIMESTAMP) AS processed_at,
    IF(trade_count IS NULL, NULL, IFNULL(SAFE_CAST(trade_count AS INT64), -1)) AS trade_count,
    CAST(gcs_file AS STRING) AS gcs_file,
    SAFE_CAST(upload_successful AS BOOL) AS upload_successful
FROM `$checkpoint`
