SELECT wallet_address, count(*) FROM trades GROUP BY wallet_address;
