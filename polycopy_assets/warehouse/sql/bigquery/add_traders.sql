-- Adds the wallets that are given and that `traders` does not hold in any case.
INSERT INTO `$traders` (wallet_address)
SELECT DISTINCT LOWER(new)
FROM UNNEST(@wallets) AS new
WHERE LOWER(new) NOT IN (
    SELECT LOWER(TRIM(wallet_address)) FROM `$traders` WHERE wallet_address IS NOT NULL
)
