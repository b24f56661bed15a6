-- If its batches have no rows, an empty table must not look as if something else had emptied it.
UPDATE {batches} SET rows = 0 WHERE NOT EXISTS (SELECT 1 FROM {table});
