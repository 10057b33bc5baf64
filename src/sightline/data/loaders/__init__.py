"""Loaders of data sets, a module for each layout of files.

`csv_tables`, `gaze_samples`, `image_index`, `annotation_index` and `lazy_sequence` are shared by the loaders.
"""
