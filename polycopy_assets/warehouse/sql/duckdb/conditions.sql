SELECT DISTINCT condition_id FROM {table} WHERE condition_id IS NOT NULL;
