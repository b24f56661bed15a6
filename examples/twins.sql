-- Which fills are equal in everything but their id? They are real: one order can be filled twice at
-- the same price and size in one transaction. Who counts distinct rows loses them.
SELECT
    wallet_address,
    tx_hash,
    token_id,
    side,
    price,
    shares_normalized,
    COUNT(*) AS fills
FROM trades
GROUP BY wallet_address, tx_hash, token_id, side, price, shares_normalized
HAVING COUNT(*) > 1
ORDER BY fills DESC, tx_hash, token_id, side, price, shares_normalized
LIMIT 20
