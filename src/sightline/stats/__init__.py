"""Statistics of score tables."""
