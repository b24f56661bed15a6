-- Deletes the rows that loaded_rows.sql counts.
DELETE FROM `$trades`
WHERE wallet_address IN UNNEST(@wallets) AND source IN UNNEST(@sources)
