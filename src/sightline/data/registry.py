"""The table of loaders of data sets."""

from __future__ import annotations

from dataclasses import dataclass

from sightline.registry import Registry


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What is known of a loader before it opens anything."""

    title: str
    """Full name of the data set."""
    source: str
    """Citation: DOI, arXiv id or URL."""
    license: str
    """Terms of the data, one phrase."""


datasets: Registry[DatasetInfo] = Registry("dataset", DatasetInfo)
