-- Adds the given wallets that `traders` does not hold yet, in upper or lower case. NEW is a reserved
-- word in BigQuery, and cannot be an alias.
INSERT INTO `$traders` (wallet_address)
SELECT DISTINCT LOWER(wallet)
FROM UNNEST(@wallets) AS wallet
WHERE LOWER(wallet) NOT IN (
    SELECT LOWER(TRIM(wallet_address)) FROM `$traders` WHERE wallet_address IS NOT NULL
)
