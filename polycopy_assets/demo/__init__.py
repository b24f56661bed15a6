"""The sample API: generated or given trades behind both contracts, strict, and able to fail."""
