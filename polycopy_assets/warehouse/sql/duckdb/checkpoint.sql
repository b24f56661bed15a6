-- The columns may be of any type. What is no truth counts as not ticked, what is no time as no date,
-- and a count that is no number as one that nothing bears out: without a count less has to agree.
SELECT
    wallet_address,
    TRY_CAST(completed AS BOOLEAN),
    TRY_CAST(processed_at AS TIMESTAMP),
    CASE WHEN trade_count IS NOT NULL THEN coalesce(TRY_CAST(trade_count AS BIGINT), -1) END,
    CAST(gcs_file AS VARCHAR),
    TRY_CAST(upload_successful AS BOOLEAN)
FROM backfill_checkpoint;
