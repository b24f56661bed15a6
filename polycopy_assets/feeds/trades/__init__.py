"""The feed `trades`: the fills of a wallet in the order book; `feed.py` puts it together."""
