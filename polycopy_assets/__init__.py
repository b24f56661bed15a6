"""Every trade of every wanted Polymarket wallet, once, in one table."""

from polycopy_assets.system.version import VERSION

__version__ = VERSION
