"""A chest phantom: rendered radiographs whose findings, and whose effect on every pixel, are known."""
