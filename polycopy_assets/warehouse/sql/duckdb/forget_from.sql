-- When a batch is loaded again, its rows replace those of later batches, so those must be loaded
-- again too. NULL: forget all batches.
DELETE FROM {batches} WHERE $batch IS NULL OR batch >= $batch OR batch IS NULL;
