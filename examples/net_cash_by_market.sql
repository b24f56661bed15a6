-- In which markets did the wallets of this table pay the most, net of what they sold for? That is
-- no loss: shares that they still hold, or redeemed, are not in it.
SELECT
    market_slug,
    trades,
    ROUND(bought_usdc, 2) AS bought_usdc,
    ROUND(sold_usdc, 2) AS sold_usdc,
    ROUND(net_cash_usdc, 2) AS net_cash_usdc
FROM market_summary
ORDER BY net_cash_usdc, market_slug
LIMIT 10
