-- Rows that an older job left may lack `notional_usdc`.
SELECT
    wallet_address,
    count(*) AS trades,
    count(*) FILTER (WHERE side = 'BUY') AS buys,
    count(*) FILTER (WHERE side = 'SELL') AS sells,
    coalesce(sum(usdc), 0) AS volume_usdc,
    coalesce(sum(usdc) FILTER (WHERE side = 'BUY'), 0) AS bought_usdc,
    coalesce(sum(usdc) FILTER (WHERE side = 'SELL'), 0) AS sold_usdc,
    coalesce(sum(usdc) FILTER (WHERE side = 'SELL'), 0)
        - coalesce(sum(usdc) FILTER (WHERE side = 'BUY'), 0) AS net_cash_usdc,
    count(DISTINCT condition_id) AS markets,
    min("timestamp") AS first_trade,
    max("timestamp") AS last_trade
FROM (
    SELECT
        wallet_address,
        side,
        coalesce(notional_usdc, price * shares_normalized) AS usdc,
        condition_id,
        "timestamp"
    FROM {table}
) AS filled
GROUP BY wallet_address
