-- $within is TRUE, or bounds of one of several queries. Null is among what is found.
SELECT DISTINCT T.condition_id
FROM `$table` AS T
WHERE $within
