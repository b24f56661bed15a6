MERGE INTO `$checkpoint` AS T
USING (
    SELECT
        tick.wallet_address, tick.completed, tick.processed_at, tick.trade_count, tick.gcs_file,
        tick.upload_successful
    FROM UNNEST(@ticks) AS tick
) AS S
ON LOWER(TRIM(T.wallet_address)) = S.wallet_address
WHEN MATCHED THEN UPDATE SET
    completed = S.completed,
    processed_at = S.processed_at,
    trade_count = S.trade_count,
    gcs_file = S.gcs_file,
    upload_successful = S.upload_successful
WHEN NOT MATCHED THEN INSERT
    (wallet_address, completed, processed_at, trade_count, gcs_file, upload_successful)
    VALUES (
        S.wallet_address, S.completed, S.processed_at, S.trade_count, S.gcs_file,
        S.upload_successful
    )
