"""The feed `activity`: a wallet's whole ledger, trades among it; `feed.py` puts it together."""
