-- Which wallets moved the most USDC?
SELECT wallet_address, trades, markets, ROUND(volume_usdc, 2) AS volume_usdc
FROM wallet_summary
ORDER BY volume_usdc DESC, wallet_address
LIMIT 10
