UPDATE polycopy_batches SET store = $store;
