"""Results as numbers and as tables."""
