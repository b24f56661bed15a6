SELECT wallet_address, completed, processed_at, trade_count, gcs_file, upload_successful
FROM backfill_checkpoint;
