"""Shared by all servers of this package: the app, its security, encodings, and modules of the browser code."""
