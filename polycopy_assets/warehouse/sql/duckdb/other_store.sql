SELECT store FROM polycopy_batches WHERE store != $store LIMIT 1;
