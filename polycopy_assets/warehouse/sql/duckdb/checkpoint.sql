-- The columns may have any type. Any value not clearly true counts as not completed, and a value
-- that is not a time as no date. A count that is not a number is -1, which matches no file; NULL
-- would be weaker evidence, but could still match.
SELECT
    wallet_address,
    TRY_CAST(completed AS BOOLEAN),
    TRY_CAST(processed_at AS TIMESTAMP),
    CASE WHEN trade_count IS NOT NULL THEN coalesce(TRY_CAST(trade_count AS BIGINT), -1) END,
    CAST(gcs_file AS VARCHAR),
    TRY_CAST(upload_successful AS BOOLEAN)
FROM backfill_checkpoint;
