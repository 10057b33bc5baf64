"""The joint histogram: one count of pixels by (value, inside or outside the mark) from which most scores follow.

A map is resized to the original once and counted once. Every threshold, Otsu's among them, is then an index into
cumulative counts, and areas under curves are sums over bins, whatever the size of the radiograph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from sightline.core import Array
from sightline.errors import DataError

QUANTIZATION_STEPS = 5100
"""Quantization steps between the lowest and the highest value. 255 × 20, so that both the 256 gray levels of Otsu's
threshold and every multiple of 0.05 are exact bin edges."""
_PER_GRAY = QUANTIZATION_STEPS // 255


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pixel counts of a predicted against a true mask."""

    tp: int
    fp: int
    fn: int
    tn: int


@dataclass(frozen=True)
class JointHistogram:
    """Pixels of one map by quantized value, inside and outside one mark.

    Value v of the map falls into bin floor(5100 (v - low) / (high - low)); only the maximum falls into bin 5100.
    Pixels the model did not see (outside the frame) are kept apart: they take no part in choosing a threshold, are
    never predicted, and rank with the lowest value.
    """

    inside: Array
    """int64 (5101,): seen pixels inside the mark."""
    outside: Array
    """int64 (5101,): seen pixels outside the mark."""
    unseen: tuple[int, int]
    """Pixels beyond the frame: (inside, outside) the mark."""
    low: float
    high: float
    positive_mass: tuple[float, float]
    """Sum of the positive part of the map over seen pixels: (inside, outside) the mark."""

    @cached_property
    def _cumulative(self) -> tuple[Array, Array]:
        """Pixels in bin k or higher, inside and outside: int64 (5102,), the last entry 0."""
        inside, outside = (np.append(np.cumsum(c[::-1])[::-1], 0) for c in (self.inside, self.outside))
        return inside, outside

    @property
    def positives(self) -> int:
        """Pixels of the mark, seen or not."""
        return int(self.inside.sum()) + self.unseen[0]

    @property
    def negatives(self) -> int:
        return int(self.outside.sum()) + self.unseen[1]

    def confusion(self, bin_: int) -> Confusion:
        """Counts when the pixels in `bin_` or higher are predicted."""
        tp, fp = (int(above[bin_]) for above in self._cumulative)
        return Confusion(tp, fp, self.positives - tp, self.negatives - fp)

    def otsu_bin(self) -> int:
        """First bin above Otsu's threshold of the seen pixels at 256 gray levels (10.1109/TSMC.1979.4310076).

        The gray level is floor(255 (v - low) / (high - low)) and the threshold is the one OpenCV returns: the first
        level that maximizes the variance between the two classes.
        """
        gray = np.add.reduceat(self.inside + self.outside, np.arange(0, QUANTIZATION_STEPS + 1, _PER_GRAY)).astype(
            float
        )  # (256,)
        weight = np.cumsum(gray) / gray.sum()  # (256,) share at or below each level
        mean = np.cumsum(gray * np.arange(256)) / gray.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            between = (mean[-1] * weight - mean) ** 2 / (weight * (1 - weight))
        valid = np.minimum(weight, 1 - weight) > np.finfo(np.float32).eps
        return (int(np.argmax(np.where(valid, between, -1.0))) + 1) * _PER_GRAY

    def bin_above(self, threshold: float) -> int:
        """First bin above `threshold` of the min-max normalized map, 0 <= threshold < 1."""
        return int(np.floor(threshold * QUANTIZATION_STEPS + 1e-9))

    def top_bin(self, fraction: float) -> int:
        """First bin of the highest `fraction` of the seen pixels: the fewest pixels that reach it, ties included."""
        inside, outside = self._cumulative
        counts = inside + outside
        wanted = fraction * int(counts[0])
        return int(np.flatnonzero(counts[:-1] >= wanted)[-1])

    def threshold_counts(self) -> tuple[Array, Array]:
        """(true, false) positives when thresholding at each distinct level, from the highest down.

        int64 (L + 1,) each, beginning with 0; unseen pixels join the lowest level, so the last entry counts them all.
        """
        inside, outside = self.inside[::-1].copy(), self.outside[::-1].copy()
        inside[-1] += self.unseen[0]
        outside[-1] += self.unseen[1]
        used = (inside + outside) > 0
        true, false = (np.append(0, np.cumsum(c[used])) for c in (inside, outside))
        return true, false


def joint_histogram(values: Array, reference: Array, window: tuple[slice, slice]) -> JointHistogram:
    """Count one placed map against one mask.

    placed: float32 (H', W'), the seen part of a map as `geometry.place` gives it; truth: bool (H, W); window: where
    the seen part lies. Errors: `DataError` if they do not fit together or the map is flat or not finite (its caller
    gives such a map a status instead).
    """
    seen_truth = reference[window]
    if seen_truth.shape != values.shape:
        raise DataError(f"a map of {values.shape} was placed in a window of {seen_truth.shape}; both must agree")
    low, high, *_ = cv2.minMaxLoc(values)
    if not high > low or not np.isfinite(high - low):
        raise DataError(f"a map with values from {low} to {high} has no histogram; it needs two finite values")
    levels = quantize(values, low, high, QUANTIZATION_STEPS)
    bins = QUANTIZATION_STEPS + 1
    everything = _count_levels(levels, None, bins)
    positive = np.maximum(values, 0) if low < 0 else values
    mass_all = float(cv2.sumElems(positive)[0])
    marked = int(np.count_nonzero(reference))
    inside, mass_in = np.zeros(bins, np.int64), 0.0
    if marked:  # most images of a data set are not
        inside = _count_levels(levels, seen_truth.view(np.uint8), bins)
        mass_in = float(cv2.mean(positive, seen_truth.view(np.uint8))[0]) * int(inside.sum())
    unseen_in = marked - int(inside.sum())
    unseen = (unseen_in, reference.size - values.size - unseen_in)
    return JointHistogram(inside, everything - inside, unseen, low, high, (mass_in, max(mass_all - mass_in, 0.0)))


def quantize(values: Array, low: float, high: float, steps: int) -> Array:
    """floor(steps (v - low) / (high - low)) as uint16, same shape; the maximum alone reaches `steps`.

    >>> quantize(np.float32([[0, 0.5, 1]]), 0.0, 1.0, 255).tolist()
    [[0, 127, 255]]
    """
    return scale_to_steps(values, low, high, steps).astype(np.uint16)


def scale_to_steps(values: Array, low: float, high: float, steps: int) -> Array:
    """steps (v - low) / (high - low), float32; what `quantize` rounds down."""
    made = values - np.float32(low)
    made /= np.float32(high - low)
    made *= np.float32(steps)
    return made


def _count_levels(levels: Array, mask: Array | None, bins: int) -> Array:
    total = np.zeros(bins, np.int64)
    rows = max(1, 2**24 // max(1, levels.shape[1]))  # OpenCV returns float32 counts: exact below 2^24 pixels
    for start in range(0, levels.shape[0], rows):
        part = slice(start, start + rows)
        inside = None if mask is None else np.ascontiguousarray(mask[part])
        total += cv2.calcHist([levels[part]], [0], inside, [bins], [0, bins]).ravel().astype(np.int64)
    return total
