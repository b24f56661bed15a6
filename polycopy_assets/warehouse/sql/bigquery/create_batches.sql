-- The table that says which batches `$name` holds. It is never seen without the row of batch 0,
-- which is about the whole table. The other rows are the batches up to `last` that the label of an
-- earlier version counts as loaded. Their rows and digests are unknown.
CREATE TABLE IF NOT EXISTS `$batches` AS
SELECT
    CAST(@store AS STRING) AS store,
    number AS batch,
    IF(number = 0, @token, CAST(NULL AS STRING)) AS digest,
    IF(number = 0, @least, CAST(NULL AS INT64)) AS `rows`,
    @now AS loaded_at
FROM UNNEST(GENERATE_ARRAY(0, @last)) AS number
