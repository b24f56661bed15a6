-- Deletes the rows that name one of the given wallets, in upper or lower case.
DELETE FROM `$traders`
WHERE LOWER(TRIM(wallet_address)) IN UNNEST(@wallets)
