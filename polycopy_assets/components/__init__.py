"""Components for other people's Dagster projects, registered for `dg` as this module's names."""

from polycopy_assets.components.polymarket_wallets import PolymarketWallets

__all__ = ["PolymarketWallets"]
