-- A batch that is loaded behind a later one has put its own rows over that one's. NULL: all of them.
DELETE FROM polycopy_batches WHERE $batch IS NULL OR batch >= $batch OR batch IS NULL;
