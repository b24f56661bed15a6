-- Answered from the table's metadata: bills nothing.
SELECT COUNT(*) FROM `$table`
