SELECT store FROM {batches} WHERE store != $store LIMIT 1;
