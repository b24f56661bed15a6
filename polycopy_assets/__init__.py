"""Every trade of every wanted Polymarket wallet, once, in one table."""

__version__ = "0.1.0"
