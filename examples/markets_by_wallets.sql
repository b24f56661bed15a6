-- In which markets did the most of these wallets trade?
SELECT market_slug, title, wallets, trades, first_trade, last_trade
FROM market_summary
ORDER BY wallets DESC, trades DESC, market_slug
LIMIT 10
