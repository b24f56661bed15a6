-- Adds the wallets of $wallets that `traders` does not hold yet, in upper or lower case.
INSERT INTO traders (wallet_address)
SELECT DISTINCT new.wallet_address
FROM (SELECT lower(unnest($wallets::VARCHAR[])) AS wallet_address) AS new
WHERE new.wallet_address NOT IN (
    SELECT address(wallet_address) FROM traders WHERE wallet_address IS NOT NULL
)
ORDER BY 1;
