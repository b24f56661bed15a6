INSERT INTO backfill_checkpoint
    (wallet_address, completed, processed_at, trade_count, gcs_file, upload_successful)
SELECT
    wallet_address,
    completed,
    make_timestamp(epoch_us(processed_at)),
    trade_count,
    gcs_file,
    upload_successful
FROM read_parquet($ticks)
WHERE wallet_address NOT IN (
    SELECT address(wallet_address) FROM backfill_checkpoint WHERE wallet_address IS NOT NULL
);
