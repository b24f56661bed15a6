"""Locks for work that must not run twice at once, and detection of dead runs."""
