"""Inpainting: parts of an image are filled smoothly from what surrounds them.

It is the noisy linear imputation of Rong et al. 2022, arXiv:2202.00449: each missing pixel is the weighted mean of
its eight
neighbors (direct ones count twice), which is a sparse linear system. The system is solved by conjugate gradients on the
grid, from coarse to fine.
"""

from __future__ import annotations

import cv2
import numpy as np

from sightline.core import Array

NEIGHBOR_WEIGHTS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]], np.float32) / 12
"""Weights of the eight neighbors of a pixel."""
TOLERANCE = 5e-5
"""Largest residual of a pixel, as a share of the range of the image."""
_MAX_ITERATIONS = 2000


def inpaint(image: Array, missing: Array) -> Array:
    """Fill the missing pixels of an image.

    Parameters
    ----------
    image : (h, w) array
        Image.
    missing : (h, w) bool
        Pixels to fill.

    Returns
    -------
    (h, w) float32
        Filled image; an image of which everything is missing becomes its mean.
    """
    image = np.asarray(image, np.float32)
    if not missing.any():
        return image.copy()
    if missing.all():
        return np.full_like(image, image.mean())
    spread = float(np.ptp(image[~missing])) or 1.0
    return _conjugate_gradients(image, missing, _initial_guess(image, missing), TOLERANCE * spread)


def _initial_guess(image: Array, missing: Array) -> Array:
    """Return the solution at half the resolution, enlarged."""
    height, width = image.shape
    if min(height, width) < 16:
        return np.where(missing, image[~missing].mean(), image).astype(np.float32)
    known = (~missing).astype(np.float32)
    size = (width // 2, height // 2)
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(image * known, size, interpolation=cv2.INTER_AREA)
    empty = weight == 0
    coarse = np.where(empty, 0, total / np.maximum(weight, 1e-6)).astype(np.float32)
    spread = float(np.ptp(coarse[~empty])) or 1.0
    if empty.any():
        coarse = _conjugate_gradients(coarse, empty, _initial_guess(coarse, empty), TOLERANCE * spread)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def _conjugate_gradients(image: Array, missing: Array, start: Array, tolerance: float) -> Array:
    """Solve for the missing pixels from `start` until no residual exceeds the tolerance."""
    hole = missing.astype(np.float32)
    weight = _sum_neighbors(np.ones_like(hole))  # of the neighbors that exist
    x = np.where(missing, start, image).astype(np.float32)
    residual = (_sum_neighbors(x) - weight * x) * hole
    direction = residual / weight
    product = float(np.vdot(residual, direction))
    for _ in range(_MAX_ITERATIONS):
        if float(np.abs(residual).max()) <= tolerance or product == 0:
            break
        applied = (weight * direction - _sum_neighbors(direction)) * hole
        step = product / float(np.vdot(direction, applied))
        x += step * direction
        residual -= step * applied
        scaled = residual / weight
        product, previous = float(np.vdot(residual, scaled)), product
        direction = scaled + (product / previous) * direction
    return x


def _sum_neighbors(values: Array) -> Array:
    """Sum the weighted neighbors inside the image, (h, w)."""
    sums: Array = cv2.filter2D(values, -1, NEIGHBOR_WEIGHTS, borderType=cv2.BORDER_CONSTANT)
    return sums
