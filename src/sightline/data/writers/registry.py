"""Registry of the layouts that data sets are written in, and what all writers share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from sightline.core import Array, Radiograph
from sightline.registry import Registry

T = TypeVar("T")
WithProgress = Callable[[Sequence[T]], Iterable[T]]
"""Function that iterates over a sequence and shows the progress."""
JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class FormatInfo:
    """Record of a layout, known before anything is written."""

    layout: str
    """Files and folders of the layout, one line."""
    loader: str
    """Spec that opens what was written; DIR stands for the folder."""


formats: Registry[FormatInfo] = Registry(
    "format",
    FormatInfo,
    {
        "chexlocalize": "sightline.data.writers.chexlocalize",
        "chexpert": "sightline.data.writers.chexpert",
        "egd": "sightline.data.writers.gaze",
        "folder": "sightline.data.writers.folder",
        "mimic": "sightline.data.writers.mimic",
        "reflacx": "sightline.data.writers.gaze",
        "rsna": "sightline.data.writers.challenges",
        "siim": "sightline.data.writers.challenges",
    },
)
"""Writers by name: functions of (data set, empty folder, `WithProgress`) that return notes for README.txt."""


def to_8_bit(image: Array) -> Array:
    """Round an image to 8 bits.

    Parameters
    ----------
    image : (H, W) float32
        Values outside [0, 1] are clipped.

    Returns
    -------
    (H, W) uint8
        0 to 255.
    """
    gray: Array = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return gray


def read_8_bit(radiograph: Radiograph) -> Array:
    """Read a radiograph and round its pixels to 8 bits.

    Parameters
    ----------
    radiograph : Radiograph
        The radiograph.

    Returns
    -------
    (H, W) uint8
        0 to 255.
    """
    return to_8_bit(radiograph.read())
