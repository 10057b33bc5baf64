"""Saliency maps as data: collections, files of other tools, storage, maps of readers and controls."""
