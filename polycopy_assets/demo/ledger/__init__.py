"""Wallets with whole ledgers, and the routes that serve ledgers, positions and markets."""
