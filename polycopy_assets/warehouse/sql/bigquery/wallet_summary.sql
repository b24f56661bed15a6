-- Rows that an older job left may lack `notional_usdc`.
SELECT
    wallet_address,
    COUNT(*) AS trades,
    COUNTIF(side = 'BUY') AS buys,
    COUNTIF(side = 'SELL') AS sells,
    IFNULL(SUM(usdc), 0) AS volume_usdc,
    IFNULL(SUM(IF(side = 'BUY', usdc, NULL)), 0) AS bought_usdc,
    IFNULL(SUM(IF(side = 'SELL', usdc, NULL)), 0) AS sold_usdc,
    IFNULL(SUM(IF(side = 'SELL', usdc, NULL)), 0)
        - IFNULL(SUM(IF(side = 'BUY', usdc, NULL)), 0) AS net_cash_usdc,
    COUNT(DISTINCT condition_id) AS markets,
    MIN(timestamp) AS first_trade,
    MAX(timestamp) AS last_trade
FROM (
    SELECT
        wallet_address,
        side,
        IFNULL(notional_usdc, price * shares_normalized) AS usdc,
        condition_id,
        timestamp
    FROM `$table`
) AS filled
GROUP BY wallet_address
