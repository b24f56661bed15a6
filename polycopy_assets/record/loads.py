"""What the assets that combine and load say of the record."""

RECORD = "record"
"""The metadata that says which state of the record was combined, or loaded."""
