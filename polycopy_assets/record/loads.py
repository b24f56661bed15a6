"""The assets that say what was combined and loaded, and which state of the record that was."""

import dagster as dg

COMBINED_TRADES = dg.AssetKey("combined_trades")
TRADES = dg.AssetKey("trades")
RECORD = "record"
"""The metadata that says which state of the record was combined, or loaded."""
