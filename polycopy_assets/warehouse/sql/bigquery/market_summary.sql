-- Rows that an older job left may lack `notional_usdc`.
-- Names of a market may change in time: one of them is shown.
SELECT
    condition_id,
    MAX(market_slug) AS market_slug,
    MAX(title) AS title,
    COUNT(*) AS trades,
    COUNTIF(side = 'BUY') AS buys,
    COUNTIF(side = 'SELL') AS sells,
    IFNULL(SUM(usdc), 0) AS volume_usdc,
    IFNULL(SUM(IF(side = 'BUY', usdc, NULL)), 0) AS bought_usdc,
    IFNULL(SUM(IF(side = 'SELL', usdc, NULL)), 0) AS sold_usdc,
    IFNULL(SUM(IF(side = 'SELL', usdc, NULL)), 0)
        - IFNULL(SUM(IF(side = 'BUY', usdc, NULL)), 0) AS net_cash_usdc,
    COUNT(DISTINCT wallet_address) AS wallets,
    MIN(timestamp) AS first_trade,
    MAX(timestamp) AS last_trade
FROM (
    SELECT
        condition_id,
        side,
        IFNULL(notional_usdc, price * shares_normalized) AS usdc,
        market_slug,
        title,
        wallet_address,
        timestamp
    FROM `$table`
) AS filled
GROUP BY condition_id
