"""The feed `tips`: the rows of a wallet's ledger that are served only when they are named."""
