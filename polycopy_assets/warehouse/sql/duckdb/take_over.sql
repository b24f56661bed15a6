UPDATE {batches} SET store = $store;
