-- Makes `leaderboard` hold, for one board on one day, exactly the rows of its snapshot. Nothing is
-- matched: what the day has goes, the snapshot's rows come, in one statement.
MERGE INTO `$leaderboard` AS T
USING (
    SELECT entry.rank, entry.wallet, entry.name, entry.pnl, entry.volume
    FROM UNNEST(@entries) AS entry
) AS S
ON FALSE
WHEN NOT MATCHED BY SOURCE
    AND T.snapshot_at >= @day
    AND T.snapshot_at < @next_day
    AND T.time_period = @time_period
    AND T.sort_by = @sort_by
    AND T.category = @category
    THEN DELETE
WHEN NOT MATCHED BY TARGET THEN
    INSERT (
        snapshot_at, time_period, sort_by, category, rank, wallet_address, user_name, pnl_usdc,
        volume_shares
    )
    VALUES (
        @snapshot_at, @time_period, @sort_by, @category, S.rank, S.wallet, S.name, S.pnl, S.volume
    )
