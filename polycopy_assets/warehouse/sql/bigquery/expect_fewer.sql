-- `$name` must have @fewer rows less than before: so many of our own are about to be deleted.
UPDATE `$batches`
SET `rows` = GREATEST(`rows` - @fewer, 0), digest = @token
WHERE batch = 0
