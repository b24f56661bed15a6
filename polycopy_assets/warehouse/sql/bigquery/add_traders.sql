-- Adds the given wallets that `traders` does not hold yet, in upper or lower case.
INSERT INTO `$traders` (wallet_address)
SELECT DISTINCT LOWER(new)
FROM UNNEST(@wallets) AS new
WHERE LOWER(new) NOT IN (
    SELECT LOWER(TRIM(wallet_address)) FROM `$traders` WHERE wallet_address IS NOT NULL
)
