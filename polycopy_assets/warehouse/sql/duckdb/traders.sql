SELECT wallet_address FROM traders ORDER BY rowid;
