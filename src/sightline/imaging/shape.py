"""Shape descriptors of annotations: number of pieces, size, elongation and irrectangularity."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sightline.core import NAN, Array, Definition
from sightline.imaging import masks


@dataclass(frozen=True, slots=True)
class ShapeDescriptors:
    """Descriptors of one annotation (Saporta et al. 2022, 10.1038/s42256-022-00536-x).

    An empty annotation has 0 instances and size 0; its other descriptors are NaN.
    """

    instances: int
    """Number of pieces."""
    size: float
    """Share of the image, in [0, 1]."""
    elongation: float
    """Longer over shorter side of the smallest rectangle around the dominant piece, >= 1; published: inf for a piece
    one pixel wide."""
    irrectangularity: float
    """1 minus the share of that rectangle that the piece fills, in [0, 1]."""


def measure_shape(mask: Array, n_outlines: int | None, definition: Definition) -> ShapeDescriptors:
    """Measure the shape of an annotation.

    Parameters
    ----------
    mask : (H, W) bool
        Annotation.
    n_outlines : int or None
        Number of outlines that the reader drew, where it is known.
    definition : {'published', 'corrected'}
        published: pieces are the outlines that the reader drew (connected components where the number is unknown), the
        dominant piece is the traced contour with most points (which can be a hole), and rectangles reach from pixel
        center to pixel center. corrected: pieces are 8-connected components, the dominant piece has the longest outer
        contour, holes count as filled (readers draw outlines), and rectangles reach from edge to edge.

    Returns
    -------
    ShapeDescriptors
        Descriptors.

    Examples
    --------
    >>> block = np.zeros((60, 60), bool)
    >>> block[5:15, 5:45] = True
    >>> measure_shape(block, None, "corrected").elongation, round(measure_shape(block, None, "published").elongation, 3)
    (4.0, 4.333)
    """
    canvas = mask.astype(np.uint8)
    pieces = cv2.connectedComponents(canvas, connectivity=8)[0] - 1
    size = float(mask.mean())
    if not pieces:
        return ShapeDescriptors(0, size, NAN, NAN)
    published = definition == "published"
    instances = n_outlines if published and n_outlines is not None else pieces
    traced = masks.outlines(mask, holes=published)
    if published:
        dominant = max(traced, key=len)
        sides, area = cv2.minAreaRect(dominant)[1], cv2.contourArea(dominant)
    else:
        dominant = max(traced, key=lambda piece: cv2.arcLength(piece, True))
        sides, area = _edge_to_edge(dominant)
    short, long = sorted(sides)
    with np.errstate(divide="ignore", invalid="ignore"):
        elongation, filled = np.divide(long, short), np.divide(area, long * short)
    return ShapeDescriptors(instances, size, float(elongation), float(1 - filled))


def _edge_to_edge(piece: Array) -> tuple[tuple[float, float], float]:
    """Return the sides of the smallest rectangle around the pixels of a filled contour, and their number."""
    col, row, columns, rows = cv2.boundingRect(piece)
    filled = np.zeros((rows, columns), np.uint8)
    cv2.drawContours(filled, [piece - (col, row)], -1, 1, cv2.FILLED)
    rim = piece.reshape(-1, 1, 2) + np.array([[[0, 0], [0, 1], [1, 0], [1, 1]]])  # (K, 4, 2) corners of rim pixels
    width, height = cv2.minAreaRect(rim.reshape(-1, 2).astype(np.float32))[1]
    return (width, height), float(filled.sum())
