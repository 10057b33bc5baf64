"""Readers of map files, one module per format."""
