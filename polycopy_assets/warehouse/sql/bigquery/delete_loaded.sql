-- As loaded_rows.sql counts them.
DELETE FROM `$trades`
WHERE wallet_address IN UNNEST(@wallets) AND source IN UNNEST(@sources)
