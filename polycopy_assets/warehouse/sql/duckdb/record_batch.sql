INSERT INTO {batches} (batch, rows, loaded_at, store)
SELECT $batch, $rows, now() AT TIME ZONE 'UTC', $store;
