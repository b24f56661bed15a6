INSERT INTO leaderboard (
    snapshot_at, time_period, sort_by, category, rank, wallet_address, user_name, pnl_usdc,
    volume_shares
)
SELECT
    $snapshot_at,
    $time_period,
    $sort_by,
    $category,
    unnest($ranks::BIGINT[]),
    unnest($wallets::VARCHAR[]),
    unnest($names::VARCHAR[]),
    unnest($pnls::DOUBLE[]),
    unnest($volumes::DOUBLE[]);
