-- At which average price did these wallets buy and sell each outcome? An average of `price` would
-- count small fills like large ones: it is weighted by shares.
SELECT
    market_slug,
    token_label,
    SUM(CASE side WHEN 'BUY' THEN notional_usdc END)
        / NULLIF(SUM(CASE side WHEN 'BUY' THEN shares_normalized END), 0) AS bought_at,
    SUM(CASE side WHEN 'SELL' THEN notional_usdc END)
        / NULLIF(SUM(CASE side WHEN 'SELL' THEN shares_normalized END), 0) AS sold_at
FROM trades
GROUP BY market_slug, token_label
ORDER BY market_slug, token_label
