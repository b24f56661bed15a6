-- Who was on a board when: the snapshots of the store, loaded.
CREATE TABLE IF NOT EXISTS leaderboard (
    snapshot_at TIMESTAMP,
    time_period VARCHAR,
    sort_by VARCHAR,
    category VARCHAR,
    rank BIGINT,
    wallet_address VARCHAR,
    user_name VARCHAR,
    pnl_usdc DOUBLE,
    volume_shares DOUBLE
);
