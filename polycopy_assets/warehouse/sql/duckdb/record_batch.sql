INSERT INTO polycopy_batches
SELECT $batch, $rows, now() AT TIME ZONE 'UTC'
WHERE $batch NOT IN (SELECT batch FROM polycopy_batches);
