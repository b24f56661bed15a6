"""When to act: sensors, schedules and the jobs that they start."""
