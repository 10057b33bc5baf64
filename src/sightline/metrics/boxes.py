"""Overlap of bounding boxes, which readers draw in a fraction of the time that masks take."""

from __future__ import annotations

import cv2
import numpy as np

from sightline.core import Array
from sightline.imaging.masks import outlines
from sightline.metrics.registry import metrics


@metrics("box-iou", title="Box IoU", takes="mask", higher_is_better=True, range=(0.0, 1.0), source="arXiv:1705.02315")
def box_iou(predicted: Array, reference: Array) -> float:
    """Compute the intersection over union of the boxes around the pieces of the binarized map and of the annotation.

    `predicted` and `reference` are bool (H, W). A piece is a set of 8-connected pixels; overlapping boxes count once.

    Examples
    --------
    >>> ring = np.zeros((9, 9), bool)
    >>> ring[2:7, 2:7], ring[3:6, 3:6] = True, False
    >>> square = np.zeros((9, 9), bool)
    >>> square[2:7, 2:7] = True
    >>> box_iou(ring, square)
    1.0
    """
    boxes = np.array([cv2.boundingRect(m.view(np.uint8)) for m in (predicted, reference) if m.any()])  # (K, x y w h)
    left, top = boxes[:, :2].min(0)
    right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(0)
    a, b = (fill_boxes(m[top:bottom, left:right]) for m in (predicted, reference))
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


@metrics(
    "peak-box-iou",
    title="Peak box IoU",
    takes="map",
    higher_is_better=True,
    range=(0.0, 1.0),
    source="arXiv:1705.02315",
)
def peak_box_iou(values: Array, reference: Array) -> float:
    """Compute the intersection over union of the boxes around the peaks of a map and around the annotation.

    `values` is float (H, W), `reference` bool (H, W). Peaks are the pieces of 8-connected pixels with at least half of
    the highest value; a map without a positive value has none and scores 0. Overlapping boxes count once.

    Examples
    --------
    >>> values = np.zeros((9, 9), np.float32)
    >>> values[2:7, 2:7], values[4, 4] = 0.6, 1.0
    >>> square = np.zeros((9, 9), bool)
    >>> square[2:7, 2:7] = True
    >>> peak_box_iou(values, square)
    1.0
    """
    highest = float(values.max())
    return box_iou(values >= 0.5 * highest, reference) if highest > 0 else 0.0


def fill_boxes(mask: Array) -> Array:
    """Return the filled boxes around the 8-connected pieces of a mask; a piece in a hole lies in the outer box.

    Parameters
    ----------
    mask : (H, W) bool
        Mask.

    Returns
    -------
    (H, W) bool
        Union of the boxes.
    """
    canvas = mask.astype(np.uint8)
    for x, y, w, h in map(cv2.boundingRect, outlines(canvas, corners_only=True)):
        cv2.rectangle(canvas, (x, y), (x + w - 1, y + h - 1), 1, cv2.FILLED)
    return canvas.view(bool)
