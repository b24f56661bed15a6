SELECT DISTINCT snapshot_at, time_period, sort_by, category FROM `$leaderboard`
WHERE snapshot_at IS NOT NULL
