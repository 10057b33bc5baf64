"""Does the map lie where the mark lies?

Every function is defined for a mark of at least one pixel and a map that is not flat; `sightline.evaluation.scoring`
gives every
other case its status. n is the number of pixels of the radiograph.
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
    """The pixels that share the highest value of a map, and the rule that makes one answer of them."""

    is_first_inside: bool
    """Whether the first of them in row-major order lies inside the mark."""
    n_inside: int
    n_peaks: int
    ties: Literal["first", "any", "expected"]


def find_peaks(values: Array, reference: Array, ties: Literal["first", "any", "expected"]) -> Peaks:
    """Find the maxima of a placed map float32 (H', W') against its part of the mark, bool (H', W')."""
    at = values == values.max()
    first = bool(reference.ravel()[int(np.argmax(at))])
    return Peaks(first, int(np.count_nonzero(at & reference)), int(np.count_nonzero(at)), ties)


@metrics("iou", title="IoU", takes="confusion", higher_is_better=True, range=_UNIT, source="10.1038/s42256-022-00536-x")
def iou(c: Confusion) -> float:
    """Intersection over union of the binarized map and the mark.

    >>> iou(Confusion(tp=1, fp=1, fn=2, tn=5))
    0.25
    """
    return c.tp / (c.tp + c.fp + c.fn)


@metrics("dice", title="Dice", takes="confusion", higher_is_better=True, range=_UNIT, source="10.2307/1932409")
def dice(c: Confusion) -> float:
    """Dice coefficient of the binarized map and the mark.

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
    """Share of the predicted pixels that lie inside the mark; 0 where nothing is predicted."""
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
    """Share of the mark's pixels that are predicted."""
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
    """Share of the pixels outside the mark that are not predicted; 1 where the mark covers the image."""
    return c.tn / (c.tn + c.fp) if c.tn + c.fp else 1.0


@metrics("hit", title="Hit rate", takes="peaks", higher_is_better=True, range=_UNIT, source="arXiv:1608.00507")
def pointing_game(p: Peaks) -> float:
    """Pointing game: does the highest value of the map lie inside the mark?

    Of tied maxima the protocol's rule takes the first, any, or the expectation of drawing one at random.
    """
    return {"first": float(p.is_first_inside), "any": float(p.n_inside > 0), "expected": p.n_inside / p.n_peaks}[p.ties]


@metrics(
    "pixel-auroc",
    title="Pixel AUROC",
    takes="histogram",
    higher_is_better=True,
    range=_UNIT,
    source="10.1148/radiology.143.1.7063747",
)
def pixel_auroc(h: JointHistogram) -> float:
    """Probability that a pixel inside the mark has a higher value than one outside, ties counting one half.

    Values are told apart at 5100 levels. A mark that covers the whole image leaves nothing to tell apart: NaN.
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
    """Precision averaged over the steps in recall as the threshold falls (no interpolation)."""
    true, false = h.threshold_counts()
    return float(np.sum(np.diff(true) * (true[1:] / (true[1:] + false[1:])))) / h.positives


@metrics(
    "pr-area", title="PR area", takes="histogram", higher_is_better=True, range=_UNIT, source="10.1148/ryai.2021200267"
)
def pr_area(h: JointHistogram) -> float:
    """Area under precision over recall by the trapezoidal rule, starting at precision 1 as scikit-learn's curve does.

    What Arun et al. report as AUPRC. The trapezoid flatters sparse maps: prefer `average-precision`.
    """
    true, false = h.threshold_counts()
    precision_ = np.append(1.0, true[1:] / (true[1:] + false[1:]))
    return float(np.sum(np.diff(true) * (precision_[1:] + precision_[:-1]))) / (2 * h.positives)


@metrics(
    "mass", title="Mass accuracy", takes="histogram", higher_is_better=True, range=_UNIT, source="arXiv:2003.07258"
)
def relevance_mass(h: JointHistogram) -> float:
    """Share of the map's positive values that lies inside the mark; 0 where no value is positive."""
    inside, outside = h.positive_mass
    return inside / (inside + outside) if inside + outside > 0 else 0.0


@metrics(
    "rank", title="Rank accuracy", takes="histogram", higher_is_better=True, range=_UNIT, source="arXiv:2003.07258"
)
def relevance_rank(h: JointHistogram) -> float:
    """Share of the mark's size among the highest pixels, as many as the mark has; ties are drawn in expectation."""
    true, false = h.threshold_counts()
    seen, wanted = true + false, h.positives
    k = int(np.searchsorted(seen, wanted))
    drawn = (wanted - seen[k - 1]) / (seen[k] - seen[k - 1])
    return float(true[k - 1] + drawn * (true[k] - true[k - 1])) / wanted
