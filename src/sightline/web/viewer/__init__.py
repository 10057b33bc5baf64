"""Viewer of a run: a web site whose files are rendered on request or written to a folder."""
