"""Simulated readers: the reference annotation with a stated amount of error. Not a model of human readers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sightline.core import Array
from sightline.data.phantom.texture import fractal_noise


@dataclass(frozen=True, slots=True)
class SimulatedReader:
    """Errors of a simulated reader. Lengths are in widths of the image."""

    displacement: float = 0.012
    """Standard deviation of the smooth displacement of a contour."""
    bias: float = 0.004
    """Standard deviation of the outward (positive) or inward shift of a whole contour."""
    miss_rate: float = 0.04
    """Chance of missing a finding of medium size; small findings are missed more often."""
    point_error: float = 0.015
    """Standard deviation of the most representative point around the deepest pixel of the finding."""


DEFAULT_READER = SimulatedReader()


def overlooks(reader: SimulatedReader, mask: Array, key: tuple[int, ...]) -> bool:
    """Return True if the reader misses a finding; the chance grows as it shrinks below 2 % of the image.

    Parameters
    ----------
    reader : SimulatedReader
        The reader.
    mask : (H, W) bool
        The finding.
    key : tuple of int
        Seed.

    Returns
    -------
    bool
        True if it is missed.
    """
    chance = reader.miss_rate * float(np.clip(0.02 / max(mask.mean(), 1e-6), 0.5, 4))
    return bool(np.random.default_rng((*key, 1)).random() < chance)


def draw_contour(reader: SimulatedReader, mask: Array, key: tuple[int, ...]) -> Array:
    """Draw a finding as the reader would: the signed distance to its outline, displaced smoothly.

    Parameters
    ----------
    reader : SimulatedReader
        The reader.
    mask : (H, W) bool
        The finding.
    key : tuple of int
        Seed.

    Returns
    -------
    (H, W) bool
        Mask with at least one pixel.
    """
    unit = mask.shape[1]
    inside = mask.astype(np.uint8)
    signed = cv2.distanceTransform(inside, cv2.DIST_L2, 3) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    grow = np.random.default_rng((*key, 2)).normal(0, reader.bias) * unit
    displacement = min(reader.displacement * unit, 0.5 * float(signed.max()))  # never more than the finding's size
    drawn = signed + grow + displacement * fractal_noise((*key, 3), mask.shape, 0.12, 2) > 0
    return drawn if drawn.any() else mask


def place_point(reader: SimulatedReader, mask: Array, key: tuple[int, ...]) -> Array:
    """Place the most representative point of a finding.

    Parameters
    ----------
    reader : SimulatedReader
        The reader.
    mask : (H, W) bool
        The finding.
    key : tuple of int
        Seed.

    Returns
    -------
    (1, 2) float64
        (row, col), inside the image.
    """
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    deepest = np.array(np.unravel_index(int(depth.argmax()), depth.shape), float) + 0.5
    error = np.random.default_rng((*key, 4)).normal(0, min(reader.point_error * mask.shape[1], float(depth.max())), 2)
    return np.clip(deepest + error, 0, np.array(mask.shape) - 1e-3)[None]
