"""Helpers without knowledge of radiology that every other module may import."""
