INSERT INTO polycopy_batches (batch, rows, loaded_at, store)
SELECT $batch, $rows, now() AT TIME ZONE 'UTC', $store;
