-- Rows that an older job left may lack `notional_usdc`.
-- Names of a market may change in time: one of them is shown.
SELECT
    condition_id,
    max(market_slug) AS market_slug,
    max(title) AS title,
    count(*) AS trades,
    count(*) FILTER (WHERE side = 'BUY') AS buys,
    count(*) FILTER (WHERE side = 'SELL') AS sells,
    coalesce(sum(usdc), 0) AS volume_usdc,
    coalesce(sum(usdc) FILTER (WHERE side = 'BUY'), 0) AS bought_usdc,
    coalesce(sum(usdc) FILTER (WHERE side = 'SELL'), 0) AS sold_usdc,
    coalesce(sum(usdc) FILTER (WHERE side = 'SELL'), 0)
        - coalesce(sum(usdc) FILTER (WHERE side = 'BUY'), 0) AS net_cash_usdc,
    count(DISTINCT wallet_address) AS wallets,
    min("timestamp") AS first_trade,
    max("timestamp") AS last_trade
FROM (
    SELECT
        condition_id,
        side,
        coalesce(notional_usdc, price * shares_normalized) AS usdc,
        market_slug,
        title,
        wallet_address,
        "timestamp"
    FROM {table}
) AS filled
GROUP BY condition_id
