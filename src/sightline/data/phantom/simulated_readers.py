"""Simulated readers: the truth, seen through a stated amount of human error. Never to be taken for people."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sightline.core import Array
from sightline.data.phantom.texture import fractal_noise


@dataclass(frozen=True, slots=True)
class SimulatedReader:
    """How far a simulated reader is from the truth. Lengths are in widths of the film."""

    displacement: float = 0.012
    """Standard deviation of the smooth displacement of a contour."""
    bias: float = 0.004
    """Standard deviation of how much larger (positive) or smaller all of one contour is drawn."""
    miss_rate: float = 0.04
    """Chance of leaving out a finding of middling size; small findings are missed more often."""
    point_error: float = 0.015
    """Standard deviation of the most representative point around the deepest pixel of the finding."""


DEFAULT_READER = SimulatedReader()


def overlooks(reader: SimulatedReader, mask: Array, key: tuple[int, ...]) -> bool:
    """Whether the reader overlooks a finding; the chance grows as the finding shrinks below 2 % of the film."""
    chance = reader.miss_rate * float(np.clip(0.02 / max(mask.mean(), 1e-6), 0.5, 4))
    return bool(np.random.default_rng((*key, 1)).random() < chance)


def draw_contour(reader: SimulatedReader, mask: Array, key: tuple[int, ...]) -> Array:
    """The mask as the reader draws it: the signed distance to its rim, displaced smoothly; bool (H, W), not empty."""
    unit = mask.shape[1]
    inside = mask.astype(np.uint8)
    signed = cv2.distanceTransform(inside, cv2.DIST_L2, 3) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    grow = np.random.default_rng((*key, 2)).normal(0, reader.bias) * unit
    rim = min(reader.displacement * unit, 0.5 * float(signed.max()))  # nobody misdraws a nodule by more than its size
    drawn = signed + grow + rim * fractal_noise((*key, 3), mask.shape, 0.12, 2) > 0
    return drawn if drawn.any() else mask


def place_point(reader: SimulatedReader, mask: Array, key: tuple[int, ...]) -> Array:
    """The most representative point, float (1, 2) as (row, col), inside the film."""
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    deepest = np.array(np.unravel_index(int(depth.argmax()), depth.shape), float) + 0.5
    error = np.random.default_rng((*key, 4)).normal(0, min(reader.point_error * mask.shape[1], float(depth.max())), 2)
    return np.clip(deepest + error, 0, np.array(mask.shape) - 1e-3)[None]
