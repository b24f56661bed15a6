"""Where trades come from: one client for HTTP, one module per API contract."""
