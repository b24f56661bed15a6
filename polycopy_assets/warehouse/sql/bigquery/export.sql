-- $Rows for a file. A table of an older version may lack columns: $columns has NULL for them.
SELECT $columns
FROM `$table`
WHERE $whose AND $since
