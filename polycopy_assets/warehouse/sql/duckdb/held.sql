-- All columns: a table of an older version has no `store`.
SELECT * FROM {batches};
