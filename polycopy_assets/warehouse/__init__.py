"""Where the table lives."""
