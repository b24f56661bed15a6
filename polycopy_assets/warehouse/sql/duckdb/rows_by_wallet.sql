SELECT wallet_address, count(*) FROM {table} GROUP BY wallet_address;
