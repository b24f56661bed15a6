DELETE FROM leaderboard
WHERE snapshot_at >= $day
    AND snapshot_at < $next_day
    AND time_period = $time_period
    AND sort_by = $sort_by
    AND category = $category;
