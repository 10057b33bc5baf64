"""Chance: how much a map that knows nothing about this radiograph would reach, and scores corrected for it.

Two levels of chance. *Random*: the mask of the map itself, moved to every place of the body (or of the image, where no
body is known), and a point drawn anywhere in it. *Average mask*: the mean annotation of the same finding on other
patients, cut so that it covers as many pixels as the mask of the map, and its highest point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from sightline.core import Array
from sightline.metrics.histogram import Confusion, JointHistogram
from sightline.metrics.localization import Peaks, iou, pointing_game
from sightline.metrics.registry import metrics

CELLS = 64
"""Cells along each side of the body between which a mask is moved."""
_SAMPLES = 512
"""Least number of pixels along a side that a mask is sampled at."""
_MIN_SAMPLES = 256
"""Least number of sampled pixels of an annotation; a smaller one is counted pixel by pixel."""
_UNDEFINED = "chance alone would reach the highest score here"


@dataclass(frozen=True)
class AverageMask:
    """Average mask of other patients on one radiograph, counted against the annotation."""

    histogram: JointHistogram
    """Counts of the average mask inside and outside the annotation."""
    hit: float
    """Share of its highest pixels that lie inside the annotation, in [0, 1]."""

    def iou_at(self, pixels: int) -> float:
        """Compute the IoU of its highest pixels, ties in expectation.

        Parameters
        ----------
        pixels : int
            Number of pixels.

        Returns
        -------
        float
            IoU in [0, 1].
        """
        true, false = self.histogram.threshold_counts()
        overlap = float(np.interp(pixels, true + false, true))
        return overlap / (pixels + self.histogram.positives - overlap)


@dataclass(frozen=True)
class ChanceLevels:
    """What a map is compared with to correct its score for chance: the annotation in the body, and the average mask."""

    reference: Array
    """bool (H, W): the annotation, at least one pixel."""
    body: Array | None = None
    """bool (H, W): the body; None for the whole image."""
    average_mask: Callable[[], AverageMask | None] = lambda: None
    """Function that returns the average mask; None if no other patient has an annotation of the finding."""
    ceilings: dict[tuple[object, ...], float] = field(default_factory=dict, repr=False, compare=False)
    """Values that depend on nothing but the grid of a map, computed once for all maps of the same grid."""

    @property
    def area(self) -> str:
        """Sentence that states where a random map is placed."""
        where = "whole image, because no body is known" if self.body is None else "body"
        return f"chance: placed at random within the {where}"

    @cached_property
    def prior(self) -> AverageMask | None:
        """Average mask, computed once."""
        return self.average_mask()

    @cached_property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the box around the body."""
        if self.body is None or not self.body.any():
            return slice(0, self.reference.shape[0]), slice(0, self.reference.shape[1])
        left, top, width, height = cv2.boundingRect(self.body.view(np.uint8))
        return slice(top, top + height), slice(left, left + width)

    @cached_property
    def _reference_cells(self) -> Array:
        reference = self.reference[self.window]
        steps = tuple(map(sampling_step, reference.shape))
        sampled = reference[steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1]]
        sampled = sampled if np.count_nonzero(sampled) >= _MIN_SAMPLES else reference
        pixel = tuple(n / k for n, k in zip(reference.shape, sampled.shape, strict=True))
        return np.conj(np.fft.rfft2(_count_cells(sampled, (pixel[0], pixel[1]))))

    @property
    def random_hit(self) -> float:
        """Share of the body that the annotation covers: the expected hit of a point drawn anywhere in the body."""
        if self.body is None or not self.body.any():
            return float(np.count_nonzero(self.reference)) / self.reference.size
        return float(np.count_nonzero(self.reference & self.body)) / np.count_nonzero(self.body)

    def random_iou(self, predicted: Array, c: Confusion) -> float:
        """Compute the mean IoU of a mask over all places in the box around the body.

        The mask is moved as a whole, and what leaves the box on one side enters it on the other, so that its area stays
        the same. Pixels outside the box stay where they are. Overlaps of all places follow from one correlation of
        shares of cells, of which there are 64 along each side.

        Parameters
        ----------
        predicted : (h, w) bool
            Mask within `window`, or every k-th row and column of it.
        c : Confusion
            Counts of the whole mask.

        Returns
        -------
        float
            Mean IoU in [0, 1].
        """
        pixels = c.tp + c.fp
        height, width = (part.stop - part.start for part in self.window)
        cells = _count_cells(predicted, (height / predicted.shape[0], width / predicted.shape[1]))
        if not cells.any():
            return 0.0
        # Overlap of two cells is the product of their shares, in pixels of a cell.
        cell_pixels = height * width / cells.size
        overlap = np.fft.irfft2(np.fft.rfft2(cells) * self._reference_cells, s=cells.shape) / cell_pixels
        overlap = np.clip(overlap, 0.0, min(pixels, c.tp + c.fn))
        return float(np.mean(overlap / (pixels + c.tp + c.fn - overlap)))


def _count_cells(mask: Array, pixel: tuple[float, float]) -> Array:
    """Count the pixels of a mask in each cell of a grid of at most 64 × 64 cells of equal size; float64."""
    shape = tuple(min(CELLS, n) for n in mask.shape)
    sums = cv2.integral(np.ascontiguousarray(mask).view(np.uint8)).astype(float)  # (H + 1, W + 1)
    rows, cols = (np.linspace(0, n, k + 1) for n, k in zip(mask.shape, shape, strict=True))
    at_rows = _interpolate_rows(sums, rows)
    corners = _interpolate_rows(at_rows.T, cols).T
    counts: Array = np.diff(np.diff(corners, axis=0), axis=1) * (pixel[0] * pixel[1])
    return counts


def _interpolate_rows(sums: Array, at: Array) -> Array:
    """Return cumulative sums at fractional rows."""
    low = np.minimum(at.astype(int), len(sums) - 2)
    share = (at - low)[:, None]
    rows: Array = sums[low] * (1 - share) + sums[low + 1] * share
    return rows


def sampling_step(length: int) -> int:
    """Return the step at which the pixels of a side are sampled.

    Parameters
    ----------
    length : int
        Pixels of the side.

    Returns
    -------
    int
        Step, at least 1.
    """
    return max(1, length // _SAMPLES)


def correct_for_chance(score: float, chance: float) -> float:
    """Compute (score - chance) / (1 - chance), at least -1, as Cohen's kappa does (10.1177/001316446002000104).

    Parameters
    ----------
    score : float
        Score in [0, 1].
    chance : float
        Expected score of chance, in [0, 1].

    Returns
    -------
    float
        1 for the best score, 0 for chance; NaN where chance reaches 1.

    Examples
    --------
    >>> correct_for_chance(0.6, 0.2), correct_for_chance(0.0, 0.2)
    (0.49999999999999994, -0.25)
    """
    return max((score - chance) / (1 - chance), -1.0) if chance < 1 else float("nan")


@metrics(
    "chance-corrected-iou",
    title="IoU, chance-corrected",
    takes="confusion",
    higher_is_better=True,
    range=(-1.0, 1.0),
    source="10.1177/001316446002000104",
    chance="random",
    undefined=_UNDEFINED,
)
def chance_corrected_iou(c: Confusion, chance: float) -> float:
    """Correct the IoU for that of the same mask at a random place of the body: 0 means chance, 1 a perfect overlap.

    Examples
    --------
    >>> chance_corrected_iou(Confusion(tp=1, fp=1, fn=2, tn=5), chance=0.25)
    0.0
    """
    return correct_for_chance(iou(c), chance)


@metrics(
    "chance-corrected-hit",
    title="Pointing game, chance-corrected",
    takes="peaks",
    higher_is_better=True,
    range=(-1.0, 1.0),
    source="10.1177/001316446002000104",
    chance="random",
    undefined=_UNDEFINED,
)
def chance_corrected_hit(p: Peaks, chance: float) -> float:
    """Correct the hit for that of a random point of the body: 0 means chance, 1 a hit."""
    return correct_for_chance(pointing_game(p), chance)


@metrics(
    "prior-corrected-iou",
    title="IoU, corrected for the average mask",
    takes="confusion",
    higher_is_better=True,
    range=(-1.0, 1.0),
    source="10.1177/001316446002000104",
    chance="average-mask",
    undefined=_UNDEFINED,
)
def prior_corrected_iou(c: Confusion, chance: float) -> float:
    """Correct the IoU for that of the average mask of other patients, cut to as many pixels as the mask."""
    return correct_for_chance(iou(c), chance)


@metrics(
    "prior-corrected-hit",
    title="Pointing game, corrected for the average mask",
    takes="peaks",
    higher_is_better=True,
    range=(-1.0, 1.0),
    source="10.1177/001316446002000104",
    chance="average-mask",
    undefined=_UNDEFINED,
)
def prior_corrected_hit(p: Peaks, chance: float) -> float:
    """Correct the hit for that of the highest point of the average mask of other patients."""
    return correct_for_chance(pointing_game(p), chance)
