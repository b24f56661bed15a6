"""The checks: what is wrong right now, with the first wallets by name, and what to do."""
