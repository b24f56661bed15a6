-- How many shares of each outcome has each wallet bought more than it has sold? These are not its
-- holdings: splits, merges, redemptions and transfers are no trades. So the number may be negative.
SELECT
    wallet_address,
    market_slug,
    token_label,
    ROUND(SUM(CASE side WHEN 'BUY' THEN shares_normalized ELSE -shares_normalized END), 6) AS shares
FROM trades
GROUP BY wallet_address, market_slug, token_label
ORDER BY shares DESC, wallet_address, market_slug, token_label
LIMIT 20
