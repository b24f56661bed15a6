UPDATE backfill_checkpoint
SET
    completed = ticks.completed,
    processed_at = make_timestamp(epoch_us(ticks.processed_at)),
    trade_count = ticks.trade_count,
    gcs_file = ticks.gcs_file,
    upload_successful = ticks.upload_successful
FROM read_parquet($ticks) AS ticks
WHERE address(backfill_checkpoint.wallet_address) = ticks.wallet_address;
