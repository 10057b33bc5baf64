"""Localization: agreement of a map with the annotation of a reader.

Every function is defined for an annotation of at least one pixel and a map that is not flat; scoring gives every other
case its status.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sightline.core import Array
from sightline.metrics.histogram import Confusion, JointHistogram
from sightline.metrics.registry import metrics

_UNIT = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Peaks:
    """Pixels that share the highest value of a map, or the points of a reader, and the rule that makes one answer."""

    is_first_inside: bool
    """Whether the first of them in row-major order lies inside the annotation."""
    n_inside: int
    """Number of them inside the annotation."""
    n_peaks: int
    """Number of them."""
    ties: Literal["first", "any", "expected"]
    """Rule for equal maxima, see `Protocol.ties`; for points of a reader that of `Protocol.reader_points`."""


def count_points(values: Array, reference: Array, rule: Literal["any", "expected"]) -> Peaks:
    """Count the points of a reader inside and outside an annotation.

    Each point counts, also where two lie in one pixel: they are statements of the reader and not ties.

    Parameters
    ----------
    values : (H, W) float32
        Number of points in each pixel, at least one in all.
    reference : (H, W) bool
        Annotation.
    rule : {'any', 'expected'}
        Rule for several points, see `Protocol.reader_points`.

    Returns
    -------
    Peaks
        Counts of the points.

    Examples
    --------
    >>> count_points(np.float32([[2, 0, 1]]), np.array([[False, False, True]]), "expected").n_peaks
    3
    """
    first = bool(reference.ravel()[int(np.argmax(values > 0))])
    return Peaks(first, round(float(values[reference].sum())), round(float(values.sum())), rule)


def find_peaks(values: Array, reference: Array, ties: Literal["first", "any", "expected"]) -> Peaks:
    """Find the maxima of a placed map.

    Parameters
    ----------
    values : (H', W') float32
        Part of the placed map that the model saw.
    reference : (H', W') bool
        The same part of the annotation.
    ties : {'first', 'any', 'expected'}
        Rule for equal maxima.

    Returns
    -------
    Peaks
        Counts of the maxima inside and outside the annotation.
    """
    peaks = values == values.max()
    first = bool(reference.ravel()[int(np.argmax(peaks))])
    return Peaks(first, int(np.count_nonzero(peaks & reference)), int(np.count_nonzero(peaks)), ties)


@metrics("iou", title="IoU", takes="confusion", higher_is_better=True, range=_UNIT, source="10.1038/s42256-022-00536-x")
def iou(c: Confusion) -> float:
    """Compute the intersection over union of the binarized map and the annotation.

    Examples
    --------
    >>> iou(Confusion(tp=1, fp=1, fn=2, tn=5))
    0.25
    """
    return c.tp / (c.tp + c.fp + c.fn)


@metrics("dice", title="Dice", takes="confusion", higher_is_better=True, range=_UNIT, source="10.2307/1932409")
def dice(c: Confusion) -> float:
    """Compute the Dice coefficient of the binarized map and the annotation.

    Examples
    --------
    >>> dice(Confusion(tp=1, fp=1, fn=2, tn=5))
    0.4
    """
    return 2 * c.tp / (2 * c.tp + c.fp + c.fn)


@metrics(
    "precision",
    title="Precision",
    takes="confusion",
    higher_is_better=True,
    range=_UNIT,
    source="10.1016/j.patrec.2005.10.010",
)
def precision(c: Confusion) -> float:
    """Compute the share of predicted pixels that lie inside the annotation; 0 where nothing is predicted."""
    return c.tp / (c.tp + c.fp) if c.tp + c.fp else 0.0


@metrics(
    "recall",
    title="Recall",
    takes="confusion",
    higher_is_better=True,
    range=_UNIT,
    source="10.1016/j.patrec.2005.10.010",
)
def recall(c: Confusion) -> float:
    """Compute the share of annotated pixels that are predicted."""
    return c.tp / (c.tp + c.fn)


@metrics(
    "specificity",
    title="Specificity",
    takes="confusion",
    higher_is_better=True,
    range=_UNIT,
    source="10.1136/bmj.308.6943.1552",
)
def specificity(c: Confusion) -> float:
    """Compute the share of pixels outside the annotation that are not predicted; 1 if it covers the image."""
    return c.tn / (c.tn + c.fp) if c.tn + c.fp else 1.0


@metrics(
    "pointing-game",
    title="Pointing game",
    takes="peaks",
    higher_is_better=True,
    range=_UNIT,
    source="arXiv:1608.00507",
)
def pointing_game(p: Peaks) -> float:
    """Return 1 if the highest value of the map lies inside the annotation, otherwise 0 (pointing game).

    For equal maxima, and for several points of a reader, the rule of the protocol takes the first, any, or the
    expectation of drawing one at random.
    """
    return {"first": float(p.is_first_inside), "any": float(p.n_inside > 0), "expected": p.n_inside / p.n_peaks}[p.ties]


@metrics(
    "pixel-auroc",
    title="Pixel AUROC",
    takes="histogram",
    higher_is_better=True,
    range=_UNIT,
    source="10.1148/radiology.143.1.7063747",
    undefined="the annotation covers the whole image",
)
def pixel_auroc(h: JointHistogram) -> float:
    """Compute the probability that a pixel inside the annotation has a higher value than one outside; ties count half.

    Values that `JointHistogram.threshold_counts` does not distinguish are ties. NaN for an annotation that covers the
    whole image.
    """
    true, false = h.threshold_counts()
    if not h.negatives:
        return float("nan")
    area = float(np.sum(np.diff(false) * (true[1:] + true[:-1]))) / 2
    return area / (h.positives * h.negatives)


@metrics(
    "average-precision",
    title="Average precision",
    takes="histogram",
    higher_is_better=True,
    range=_UNIT,
    source="10.1007/978-3-642-40994-3_29",
)
def average_precision(h: JointHistogram) -> float:
    """Compute the precision, averaged over the steps in recall as the threshold falls (no interpolation)."""
    true, false = h.threshold_counts()
    return float(np.sum(np.diff(true) * (true[1:] / (true[1:] + false[1:])))) / h.positives


@metrics(
    "pr-area",
    title="PR area",
    takes="histogram",
    higher_is_better=True,
    range=_UNIT,
    source="10.1148/ryai.2021200267",
    published_values="magnitudes",
)
def pr_area(h: JointHistogram) -> float:
    """Compute the area under precision over recall by the trapezoidal rule, starting at precision 1.

    Arun et al. report this area as AUPRC, of magnitudes that are cut at their 99th percentile, as here with published
    definitions. It overestimates sparse maps; `average-precision` is preferable.
    """
    true, false = h.threshold_counts()
    precision_ = np.append(1.0, true[1:] / (true[1:] + false[1:]))
    return float(np.sum(np.diff(true) * (precision_[1:] + precision_[:-1]))) / (2 * h.positives)


@metrics(
    "relevance-mass",
    title="Relevance mass",
    takes="histogram",
    higher_is_better=True,
    range=_UNIT,
    source="10.1016/j.inffus.2021.11.008",
)
def relevance_mass(h: JointHistogram) -> float:
    """Compute the share of the sum of positive values that lies inside the annotation; 0 where no value is positive."""
    inside, outside = h.positive_mass
    return inside / (inside + outside) if inside + outside > 0 else 0.0


@metrics(
    "relevance-rank",
    title="Relevance rank",
    takes="histogram",
    higher_is_better=True,
    range=_UNIT,
    source="10.1016/j.inffus.2021.11.008",
)
def relevance_rank(h: JointHistogram) -> float:
    """Compute the share of annotated pixels among the K highest, K being the size of the annotation.

    Ties are drawn in expectation.
    """
    true, false = h.threshold_counts()
    totals, size = true + false, h.positives
    k = int(np.searchsorted(totals, size))
    share_of_tie = (size - totals[k - 1]) / (totals[k] - totals[k - 1])
    return float(true[k - 1] + share_of_tie * (true[k] - true[k - 1])) / size


_HEAT = 0.1
"""Share of the highest value from which a pixel counts as heat."""
_QUANTILES = np.linspace(0, 1, 11)


@metrics(
    "effective-heat-ratio",
    title="Effective heat ratio",
    takes="histogram",
    higher_is_better=True,
    range=_UNIT,
    source="arXiv:2110.01471",
)
def effective_heat_ratio(h: JointHistogram) -> float:
    """Compute how much of the heat lies inside the annotation, averaged over thresholds of the heat.

    Heat is the positive value of a pixel as a share of the highest one; pixels below a tenth have none. For the
    quantiles 0, 0.1, ... 1 of the heat, at most 0.99: the sum of the heat inside the annotation over the number of
    pixels, both of the pixels from that quantile on. The score is the area under this ratio by the trapezoidal rule; 0
    where no value is positive. Source: Zhang et al. 2021, with `EffectiveHeatRatios` of their code.
    """
    if h.high <= 0:
        return 0.0
    steps = len(h.inside) - 1
    values = h.low + (h.high - h.low) * np.minimum(np.arange(steps + 1) + 0.5, steps) / steps
    heat = np.where(values >= _HEAT * h.high, values / h.high, 0.0)
    pixels = np.where(heat > 0, h.inside + h.outside, 0)
    below = np.cumsum(pixels)  # pixels with heat up to each bin
    rank = np.ceil(_QUANTILES * (below[-1] - 1)).astype(np.int64)  # of the first pixel from each quantile on
    first = np.minimum(np.searchsorted(below, rank, side="right"), np.searchsorted(heat, 0.99))
    from_bin = np.cumsum((heat * h.inside)[::-1])[::-1], np.cumsum(pixels[::-1])[::-1]
    ratios = from_bin[0][first] / from_bin[1][first]
    return float(np.sum((ratios[1:] + ratios[:-1]) * np.diff(_QUANTILES))) / 2
