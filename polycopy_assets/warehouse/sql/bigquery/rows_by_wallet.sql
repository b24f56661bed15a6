-- $within is TRUE, or bounds of one of several queries whose counts are added up.
SELECT T.wallet_address, COUNT(*) AS row_count
FROM `$table` AS T
WHERE $within
GROUP BY T.wallet_address
