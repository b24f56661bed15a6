-- Rows that an older job left may lack `notional_usdc`.
-- A day is one of UTC, whatever the zone of the session and the type of `timestamp`.
SELECT
    day,
    wallet_address,
    count(*) AS trades,
    count(*) FILTER (WHERE side = 'BUY') AS buys,
    count(*) FILTER (WHERE side = 'SELL') AS sells,
    coalesce(sum(usdc), 0) AS volume_usdc,
    coalesce(sum(usdc) FILTER (WHERE side = 'BUY'), 0) AS bought_usdc,
    coalesce(sum(usdc) FILTER (WHERE side = 'SELL'), 0) AS sold_usdc,
    coalesce(sum(usdc) FILTER (WHERE side = 'SELL'), 0)
        - coalesce(sum(usdc) FILTER (WHERE side = 'BUY'), 0) AS net_cash_usdc,
    count(DISTINCT condition_id) AS markets
FROM (
    SELECT
        CAST(make_timestamp(epoch_us("timestamp")) AS DATE) AS day,
        wallet_address,
        side,
        coalesce(notional_usdc, price * shares_normalized) AS usdc,
        condition_id
    FROM {table}
) AS filled
GROUP BY day, wallet_address
