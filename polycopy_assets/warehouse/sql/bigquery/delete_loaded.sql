-- Deletes the rows that loaded_rows.sql counts.
DELETE FROM `$table`
WHERE wallet_address IN UNNEST(@wallets) AND source IN UNNEST(@sources)
