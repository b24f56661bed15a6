-- Puts a staged batch into `$name` and notes it, in one transaction: both or neither. The
-- change is insert.sql or merge.sql.
BEGIN TRANSACTION;

-- Every load changes the row of batch 0, so BigQuery cancels one of two loads at the same time. If
-- the digest of that row is not @seen, another load has come since the rows to delete were counted.
UPDATE `$batches`
SET
    store = COALESCE(CAST(@store AS STRING), store),
    digest = IF(digest = @seen, @token, ERROR('another load has changed $noted')),
    `rows` = @least,
    loaded_at = @now
WHERE batch = 0;

$change;

-- The rows of this batch replace those of later batches, which must be loaded again after it. If
-- `$name` has lost rows, all batches must.
DELETE FROM `$batches` WHERE batch >= @forgotten;

INSERT INTO `$batches` (store, batch, digest, `rows`, loaded_at)
VALUES (@store, @batch, @digest, @row_count, @now);

COMMIT TRANSACTION;
