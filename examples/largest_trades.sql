-- Which trades were the largest?
SELECT timestamp, wallet_address, side, price, shares_normalized, notional_usdc, title
FROM trades
ORDER BY notional_usdc DESC, wallet_address, id
LIMIT 10
