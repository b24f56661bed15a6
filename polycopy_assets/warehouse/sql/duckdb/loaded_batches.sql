SELECT batch FROM polycopy_batches;
