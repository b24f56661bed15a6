"""The old job's files and checkpoint; delete this package when no deployment has any."""
