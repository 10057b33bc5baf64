"""Simulated readers: the reference annotation with a stated amount of error. Not a model of human readers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from sightline._util.rng import FURTHER_POINTS, keyed_rng
from sightline.core import Array
from sightline.data.phantom.texture import fractal_noise
from sightline.errors import DataError


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
    """Standard deviation of a point around the pixel that is meant."""
    further_points: float = 0.3
    """Chance of a second point after the first, and of a third after the second."""


DEFAULT_READER = SimulatedReader()
FIRST_READER = "simulated radiologist"
"""Name of the reader with the default errors; further readers have it with a number from 2."""
_SKILL_SPREAD = 0.35
"""Standard deviation of the logarithm of a further reader's errors, as multiples of those of the default reader."""


def reader_names(count: int) -> tuple[str, ...]:
    """Name the readers of a data set: contours, then points, of each person.

    Parameters
    ----------
    count : int
        Number of persons, 1 to 20.

    Returns
    -------
    tuple of str
        Two names a person.

    Raises
    ------
    DataError
        If the number is out of range.

    Examples
    --------
    >>> reader_names(2)[2:]
    ('simulated radiologist 2', 'simulated radiologist 2 points')
    """
    if not 1 <= count <= 20:
        raise DataError(f"readers={count}: give the number of simulated readers, 1 to 20, or the folder of a study")
    people = (FIRST_READER, *(f"{FIRST_READER} {number}" for number in range(2, count + 1)))
    return tuple(name for person in people for name in (person, f"{person} points"))


def find_reader(name: str, seed: int, case: tuple[int, int]) -> tuple[SimulatedReader, tuple[int, ...]]:
    """Find the errors of a reader by name, and the key of all random numbers of this person on a case.

    Parameters
    ----------
    name : str
        One of `reader_names`.
    seed : int
        Seed of the data set.
    case : (int, int)
        Indices of the radiograph and of the finding.

    Returns
    -------
    reader : SimulatedReader
        The reader; contours and points of a person have the same.
    key : tuple of int
        Seed of the case.
    """
    number = name.removeprefix(FIRST_READER).removesuffix(" points").strip()
    if not number:
        return DEFAULT_READER, (seed, 8, *case)
    return draw_reader((seed, 13, int(number))), (seed, 14, int(number), *case)


def draw_reader(key: tuple[int, ...]) -> SimulatedReader:
    """Draw a further reader, whose errors are multiples of those of the default reader.

    Parameters
    ----------
    key : tuple of int
        Seed.

    Returns
    -------
    SimulatedReader
        The reader.
    """
    contour, miss, point = np.exp(np.random.default_rng(key).normal(0, _SKILL_SPREAD, 3))
    return replace(
        DEFAULT_READER,
        displacement=DEFAULT_READER.displacement * contour,
        bias=DEFAULT_READER.bias * contour,
        miss_rate=DEFAULT_READER.miss_rate * miss,
        point_error=DEFAULT_READER.point_error * point,
    )


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


def place_points(reader: SimulatedReader, mask: Array, key: tuple[int, ...]) -> Array:
    """Place the most representative points of a finding: mostly one, sometimes two or three.

    The first is meant for the deepest pixel of the finding, the others for any of its pixels.

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
    (K, 2) float64
        (row, col) of one to three points, inside the image.
    """
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    spread = min(reader.point_error * mask.shape[1], float(depth.max()))
    rng = keyed_rng(FURTHER_POINTS, *key)
    count = 1 + int(np.cumprod(rng.random(2) < reader.further_points).sum())
    others = rng.choice(np.argwhere(mask), count - 1)
    pixels = np.vstack([np.unravel_index(int(depth.argmax()), depth.shape), others]) + 0.5
    error = np.random.default_rng((*key, 4)).normal(0, spread, 2)
    errors = np.vstack([error, rng.normal(0, spread, (count - 1, 2))])
    return np.clip(pixels + errors, 0, np.array(mask.shape) - 1e-3)
