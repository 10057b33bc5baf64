"""Maps on other grids: enlarged in their frame, on the pixels of a model, or on one common grid."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.core import Array, Definition, Frame, SaliencyMap
from sightline.imaging.geometry import project_whole, resample_area


def upsample(stored: SaliencyMap, side: int) -> Array:
    """A stored map enlarged in its own frame, float32 (side, side)."""
    return np.asarray(cv2.resize(stored.values, (side, side), interpolation=cv2.INTER_LINEAR))


def resample_to_frame(stored: SaliencyMap, frame: Frame, side: int) -> Array:
    """A stored map on the pixels that a model sees in `frame`, float32 (side, side)."""
    if stored.frame == frame:
        return upsample(stored, side)
    return resample_area(project_whole(stored.values, stored.frame), frame, (side, side))


GRID_SHAPE = (128, 128)
"""Cells over every image, whatever its shape: about six to a degree of visual angle."""


def resample_to_grid(m: SaliencyMap) -> Array:
    """A map on `GRID_SHAPE` over its whole image, float64 (h, w); zeros for one that points nowhere.

    Finer maps are averaged, coarser ones interpolated; beyond the part that the model saw is the map's lowest value.
    """
    if m.status not in ("ok", "flat") or not m.values.size:
        return np.zeros(GRID_SHAPE)
    (height, width), (top, left, bottom, right) = m.frame.size, m.frame.box
    scale = GRID_SHAPE[0] / height, GRID_SHAPE[1] / width
    covered = round((bottom - top) * scale[0]), round((right - left) * scale[1])
    values = np.ascontiguousarray(m.values, np.float32)
    fitting = min(values.shape[0], max(1, covered[0])), min(values.shape[1], max(1, covered[1]))
    if fitting != values.shape:
        values = np.asarray(cv2.resize(values, fitting[::-1], interpolation=cv2.INTER_AREA))
    frame = Frame(GRID_SHAPE, (top * scale[0], left * scale[1], bottom * scale[0], right * scale[1]))
    return project_whole(values, frame).astype(np.float64)


def extract_evidence(values: Array, definition: Definition) -> Array:
    """What counts of a map: its magnitudes as published, what speaks for the finding as corrected."""
    return np.abs(values) if definition == "published" else np.maximum(values, 0)
