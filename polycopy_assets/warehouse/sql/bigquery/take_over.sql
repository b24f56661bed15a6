-- All batches that `$name` holds become those of one store.
UPDATE `$batches`
SET store = @store, digest = IF(batch = 0, @token, digest)
WHERE TRUE
