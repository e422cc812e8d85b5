"""Staged recipes for machine anomalous sound detection."""

__version__ = "0.1.0"
