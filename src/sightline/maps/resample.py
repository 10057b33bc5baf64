"""Resampling of maps: to another size in their frame, to the input of a model, or to one common grid."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from sightline.core import Array, Definition, Frame, SaliencyMap
from sightline.imaging.geometry import project_whole, resample_area


def upsample(stored: SaliencyMap, side: int) -> Array:
    """Interpolate a map bilinearly to a square in its own frame.

    Parameters
    ----------
    stored : SaliencyMap
        Map.
    side : int
        Side of the square, in pixels.

    Returns
    -------
    (side, side) float32
        Values.
    """
    return np.asarray(cv2.resize(stored.values, (side, side), interpolation=cv2.INTER_LINEAR))


def resample_to_frame(stored: SaliencyMap, frame: Frame, side: int) -> Array:
    """Resample a map to the input of a model.

    Parameters
    ----------
    stored : SaliencyMap
        Map.
    frame : Frame
        Place of the input on the image.
    side : int
        Side of the input, in pixels.

    Returns
    -------
    (side, side) float32
        Values.
    """
    if stored.frame == frame:
        return upsample(stored, side)
    return resample_area(project_whole(stored.values, stored.frame), frame, (side, side))


GRID_SHAPE = (128, 128)
"""Cells of the common grid over every image: about six per degree of visual angle."""


def resample_to_grid(m: SaliencyMap) -> Array:
    """Resample a map to the common grid over its whole image.

    Finer maps are averaged and coarser ones interpolated; the part that the model did not see gets the lowest value.

    Parameters
    ----------
    m : SaliencyMap
        Map of any status.

    Returns
    -------
    float64 of `GRID_SHAPE`
        Values; zeros for a map that failed.
    """
    if m.status not in ("ok", "flat") or not m.values.size:
        return np.zeros(GRID_SHAPE)
    (height, width), (top, left, bottom, right) = m.frame.size, m.frame.box
    scale = GRID_SHAPE[0] / height, GRID_SHAPE[1] / width
    covered = round((bottom - top) * scale[0]), round((right - left) * scale[1])
    values = np.ascontiguousarray(m.values, np.float32)
    reduced = min(values.shape[0], max(1, covered[0])), min(values.shape[1], max(1, covered[1]))
    if reduced != values.shape:
        values = np.asarray(cv2.resize(values, reduced[::-1], interpolation=cv2.INTER_AREA))
    frame = Frame(GRID_SHAPE, (top * scale[0], left * scale[1], bottom * scale[0], right * scale[1]))
    return project_whole(values, frame).astype(np.float64)


def resample_evidence(m: SaliencyMap, definition: Definition) -> Array:
    """Resample the evidence in a map to the common grid over its whole image.

    Parameters
    ----------
    m : SaliencyMap
        Map of any status.
    definition : {'published', 'corrected'}
        published: magnitudes, taken before the values of a cell are averaged; corrected: the positive part of the
        averages, which is evidence for the finding.

    Returns
    -------
    float64 of `GRID_SHAPE`
        Values, 0 or more; zeros for a map that failed.
    """
    if definition == "published":
        return resample_to_grid(replace(m, values=np.abs(m.values)))
    return np.maximum(resample_to_grid(m), 0)
