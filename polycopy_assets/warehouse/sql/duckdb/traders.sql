SELECT wallet_address FROM traders;
