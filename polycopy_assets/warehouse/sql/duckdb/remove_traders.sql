-- Deletes the rows that name one of $wallets, in upper or lower case.
DELETE FROM traders
WHERE address(wallet_address) IN (SELECT unnest($wallets::VARCHAR[]));
