"""The joint histogram: one count of pixels by (value, inside or outside the annotation), from which most scores follow.

A map is resized to the original image once and counted once. Every threshold, including Otsu's, is then an index into
cumulative counts, and areas under curves are sums over bins, independently of the size of the radiograph. Where
these bins are too coarse, because a few pixels have values far above all others, areas are sums over bins that follow
the distribution of the values, or over the ranks of all pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from sightline.core import Array
from sightline.errors import DataError

QUANTIZATION_STEPS = 5100
"""Quantization steps between the lowest and the highest value. 255 × 20, so that both the 256 gray levels of Otsu's
threshold and every multiple of 0.05 are exact bin edges."""
_PER_GRAY = QUANTIZATION_STEPS // 255
_MAX_AUROC_ERROR = 2e-3
"""Largest change of the pixel AUROC that the order of the pixels within bins may cause; beyond it bins are refined."""
_MAX_PRECISION_ERROR = 1e-2
"""Largest change of the average precision that the order of the pixels within bins may cause."""
_FINE_STEPS = 65535
"""Steps of the refined bins."""
_FEW_PIXELS = 2**16
"""Number of pixels up to which ranking all of them costs less than refined bins."""
_SAMPLE = 2**14
"""Pixels from which the refined bins are chosen."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pixel counts of a predicted mask against the reference mask."""

    tp: int
    """True positives."""
    fp: int
    """False positives."""
    fn: int
    """False negatives."""
    tn: int
    """True negatives."""


@dataclass(frozen=True)
class JointHistogram:
    """Counts of the pixels of one map by quantized value, inside and outside one annotation.

    Value v of the map falls into bin floor(5100 (v - low) / (high - low)); only the maximum falls into bin 5100.
    Pixels that the model did not see (outside the frame) are counted apart: they take no part in choosing a threshold,
    are never predicted, and rank with the lowest value.
    """

    inside: Array
    """int64 (5101,): seen pixels inside the annotation."""
    outside: Array
    """int64 (5101,): seen pixels outside the annotation."""
    unseen: tuple[int, int]
    """Pixels outside the frame: (inside, outside) the annotation."""
    low: float
    """Lowest value of the map."""
    high: float
    """Highest value of the map."""
    positive_mass: tuple[float, float]
    """Sum of the positive part of the map over seen pixels: (inside, outside) the annotation."""
    pixels: tuple[Array, Array] = field(repr=False, compare=False)
    """Seen pixels, from which ranks are computed where bins are too coarse: (values float32, annotation bool)."""

    @cached_property
    def _cumulative(self) -> tuple[Array, Array]:
        """Pixels in bin k or higher, inside and outside: int64 (5102,) each, the last entry 0."""
        inside, outside = (np.append(np.cumsum(c[::-1])[::-1], 0) for c in (self.inside, self.outside))
        return inside, outside

    @property
    def positives(self) -> int:
        """Pixels of the annotation, seen or not."""
        return int(self.inside.sum()) + self.unseen[0]

    @property
    def negatives(self) -> int:
        """Pixels outside the annotation, seen or not."""
        return int(self.outside.sum()) + self.unseen[1]

    def confusion(self, bin_: int) -> Confusion:
        """Count the pixels when those in a bin or higher are predicted.

        Parameters
        ----------
        bin_ : int
            First bin of the prediction.

        Returns
        -------
        Confusion
            Counts over the whole radiograph.
        """
        tp, fp = (int(above[bin_]) for above in self._cumulative)
        return Confusion(tp, fp, self.positives - tp, self.negatives - fp)

    def otsu_bin(self) -> int:
        """Find the first bin above Otsu's threshold of the seen pixels at 256 gray levels.

        The gray level is floor(255 (v - low) / (high - low)), and the threshold is the one that OpenCV returns: the
        first level that maximizes the variance between the two classes. Source: Otsu 1979, 10.1109/TSMC.1979.4310076.

        Returns
        -------
        int
            Bin.
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
        """Find the first bin above a threshold.

        Parameters
        ----------
        threshold : float
            Threshold of the min-max normalized map, in [0, 1).

        Returns
        -------
        int
            Bin.
        """
        return int(np.floor(threshold * QUANTIZATION_STEPS + 1e-9))

    def top_bin(self, fraction: float) -> int:
        """Find the first bin of the highest seen pixels: the fewest that reach a fraction, ties included.

        Parameters
        ----------
        fraction : float
            Share of the seen pixels, in (0, 1].

        Returns
        -------
        int
            Bin.
        """
        inside, outside = self._cumulative
        counts = inside + outside
        return int(np.flatnonzero(counts[:-1] >= fraction * int(counts[0]))[-1])

    def threshold_counts(self) -> tuple[Array, Array]:
        """Count true and false positives for thresholds at each distinct level, from the highest down.

        Levels are the 5101 bins, unless the order of the pixels within bins could change the area under the ROC curve
        by more than 0.002 or the average precision by more than 0.01. Then they are 65536 bins of a scale that is
        linear around the median and compressed in the tails, and if these are too coarse as well, the distinct values.

        Returns
        -------
        true, false : (L + 1,) int64
            Counts, beginning with 0. Unseen pixels join the lowest level, so the last entry counts all pixels.
        """
        return self._threshold_counts

    @cached_property
    def _threshold_counts(self) -> tuple[Array, Array]:
        counts = self.inside, self.outside
        if not _are_bins_fine(*counts, self.unseen, self.unseen):
            counts = self._refined_counts()
        inside, outside = (c[::-1].copy() for c in counts)
        inside[-1] += self.unseen[0]
        outside[-1] += self.unseen[1]
        used = (inside + outside) > 0
        true, false = (np.append(0, np.cumsum(c[used])) for c in (inside, outside))
        return true, false

    def _refined_counts(self) -> tuple[Array, Array]:
        """Count seen pixels inside and outside by finer bins, from the lowest up, unless the bins are fine enough."""
        values, annotated = self.pixels
        # A rectified map has many pixels of exactly the lowest value. They are tied, whatever the bins are.
        lowest = values == np.float32(self.low)
        tied = int(np.count_nonzero(lowest & annotated))
        ties = (tied + self.unseen[0], int(np.count_nonzero(lowest)) - tied + self.unseen[1])
        if _are_bins_fine(self.inside, self.outside, self.unseen, ties):
            return self.inside, self.outside
        compressed = _count_compressed(values, annotated) if values.size > _FEW_PIXELS else None
        if compressed is not None and _are_bins_fine(*compressed, self.unseen, ties, is_top_one_value=False):
            return compressed
        return _count_distinct(values, annotated)


def joint_histogram(values: Array, reference: Array, window: tuple[slice, slice]) -> JointHistogram:
    """Count one placed map against one mask.

    Parameters
    ----------
    values : (H', W') float32
        Part of the map that the model saw, as `sightline.imaging.geometry.project_to_image` returns it.
    reference : (H, W) bool
        Annotation.
    window : tuple of slice
        Rows and columns of the image where `values` lie.

    Returns
    -------
    JointHistogram
        Counts.

    Raises
    ------
    DataError
        If shapes do not fit, or if the map is flat or not finite (callers give such a map a status instead).
    """
    visible_reference = reference[window]
    if visible_reference.shape != values.shape:
        raise DataError(f"a map of {values.shape} was placed in a window of {visible_reference.shape}; both must agree")
    low, high, *_ = cv2.minMaxLoc(values)
    if not high > low or not np.isfinite(high - low):
        raise DataError(f"a map with values from {low} to {high} has no histogram; it needs two finite values")
    levels = quantize(values, low, high, QUANTIZATION_STEPS)
    bins = QUANTIZATION_STEPS + 1
    all_pixels = _count_levels(levels, None, bins)
    positive = np.maximum(values, 0) if low < 0 else values
    mass_all = float(cv2.sumElems(positive)[0])
    annotated = int(np.count_nonzero(reference))
    inside, mass_in = np.zeros(bins, np.int64), 0.0
    if annotated:  # most images of a data set are not
        inside = _count_levels(levels, visible_reference.view(np.uint8), bins)
        mass_in = float(cv2.mean(positive, visible_reference.view(np.uint8))[0]) * int(inside.sum())
    unseen_in = annotated - int(inside.sum())
    unseen = (unseen_in, reference.size - values.size - unseen_in)
    mass = (mass_in, max(mass_all - mass_in, 0.0))
    pixels = (values, visible_reference)
    return JointHistogram(inside, all_pixels - inside, unseen, low, high, mass, pixels)


def _are_bins_fine(
    inside: Array, outside: Array, unseen: tuple[int, int], ties: tuple[int, int], *, is_top_one_value: bool = True
) -> bool:
    """Return True if no order of the pixels within bins changes the areas much.

    Unseen pixels join the lowest bin; `ties` are its pixels (inside, outside) with the lowest value, unseen ones among
    them.
    """
    within, beyond = inside.astype(float), outside.astype(float)
    within[0] += unseen[0]
    beyond[0] += unseen[1]
    positives, negatives = within.sum(), beyond.sum()
    if not positives or not negatives:
        return True
    true, false = (np.cumsum(c[::-1])[::-1] for c in (within, beyond))  # pixels in a bin or higher
    within[0] -= ties[0]
    beyond[0] -= ties[1]
    if is_top_one_value:
        within[-1] = 0.0
    unordered = (within * beyond).sum() + within[0] * ties[1] + beyond[0] * ties[0]
    if unordered > 2 * _MAX_AUROC_ERROR * positives * negatives:
        return False
    most = true / np.maximum(true + false - beyond, 1.0)  # precision if the annotated pixels of a bin came first
    least = (true - within) / np.maximum(true - within + false, 1.0)  # ... and if they came last
    return bool((within * (most - least)).sum() <= 2 * _MAX_PRECISION_ERROR * positives)


def _count_compressed(values: Array, annotated: Array) -> tuple[Array, Array] | None:
    """Count pixels inside and outside by bins of x / (1 + |x|), x = (value - median) / spread; None without spread."""
    sample = np.ravel(values)[:: max(1, values.size // _SAMPLE)]
    median = np.median(sample)
    away = np.abs(sample - median)
    if not away.any():
        return None
    spread = np.median(away[away > 0])
    with np.errstate(over="ignore", invalid="ignore"):
        compressed = (values - median) / spread
        size = np.abs(compressed)
        size += 1
        compressed /= size
    low, high, *_ = cv2.minMaxLoc(compressed)
    if not high > low or not np.isfinite(high - low):
        return None
    levels = quantize(compressed, low, high, _FINE_STEPS)
    total = _count_levels(levels, None, _FINE_STEPS + 1)
    inside = _count_levels(levels, annotated.view(np.uint8), _FINE_STEPS + 1)
    return inside, total - inside


def _count_distinct(values: Array, annotated: Array) -> tuple[Array, Array]:
    """Count pixels inside and outside by distinct value, from the lowest up."""
    bits = (np.ravel(values) + np.float32(0)).view(np.uint32)  # adding 0 makes -0 and 0 one value
    # Floats in their order as integers: the bits of positive ones, and the complement of those of negative ones.
    order = np.where(bits >> np.uint32(31), ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
    keys = np.sort(order << np.uint64(1) | np.ravel(annotated).astype(np.uint64))
    starts = np.append(0, np.flatnonzero(np.diff(keys >> np.uint64(1))) + 1)  # first pixel of each value
    inside = np.add.reduceat((keys & np.uint64(1)).astype(np.int64), starts)
    return inside, np.diff(np.append(starts, keys.size)) - inside


def quantize(values: Array, low: float, high: float, steps: int) -> Array:
    """Return floor(steps (v - low) / (high - low)); only the maximum reaches `steps`.

    Parameters
    ----------
    values : array
        Values in [low, high].
    low, high : float
        Lowest and highest value.
    steps : int
        Number of steps, at most 65535.

    Returns
    -------
    uint16 array
        Levels, in the shape of `values`.

    Examples
    --------
    >>> quantize(np.float32([[0, 0.5, 1]]), 0.0, 1.0, 255).tolist()
    [[0, 127, 255]]
    """
    return scale_to_steps(values, low, high, steps).astype(np.uint16)


def scale_to_steps(values: Array, low: float, high: float, steps: int) -> Array:
    """Return steps (v - low) / (high - low), which `quantize` rounds down.

    Parameters
    ----------
    values : float32 array
        Values in [low, high].
    low, high : float
        Lowest and highest value.
    steps : int
        Number of steps.

    Returns
    -------
    float32 array
        Positions, in the shape of `values`.
    """
    scaled = values - np.float32(low)
    scaled /= np.float32(high - low)
    scaled *= np.float32(steps)
    return scaled


def _count_levels(levels: Array, mask: Array | None, bins: int) -> Array:
    """Count the pixels of each level, all or those of a mask."""
    if levels.size < 4 * bins:  # OpenCV prepares a table of all levels first
        return np.bincount(np.ravel(levels) if mask is None else levels[mask.view(bool)], minlength=bins)
    total = np.zeros(bins, np.int64)
    rows = max(1, 2**24 // max(1, levels.shape[1]))  # OpenCV returns float32 counts: exact below 2^24 pixels
    for start in range(0, levels.shape[0], rows):
        part = slice(start, start + rows)
        inside = None if mask is None else np.ascontiguousarray(mask[part])
        total += cv2.calcHist([levels[part]], [0], inside, [bins], [0, bins]).ravel().astype(np.int64)
    return total
