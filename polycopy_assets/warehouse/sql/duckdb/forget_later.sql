-- A batch that is loaded behind a later one has put its own rows over that one's.
DELETE FROM polycopy_batches WHERE batch > $batch;
