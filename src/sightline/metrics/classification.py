"""How well scores tell the images with a finding from those without."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import rankdata

from sightline.core import NAN, Array
from sightline.errors import DataError


def auroc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve in [0, 1]: the chance that a positive scores above a negative, ties counting half.

    scores (n,), finite where labeled; labels (n,) of 1, 0 or NaN (unknown, left out). NaN unless both occur.
    Source: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747.

    >>> auroc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    0.75
    """
    scores, positive = _drop_unlabeled(scores, labels)
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return NAN
    ranks = rankdata(scores)  # ties share their mean rank
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def average_precision(scores: Array, labels: Array) -> float:
    """Mean precision at the positives, in (0, 1]: the area under the step-wise precision-recall curve.

    scores (n,), labels (n,) of 1, 0 or NaN (unknown, left out); equal scores enter together. NaN without a positive.
    Source: Manning et al. 2008, Introduction to Information Retrieval, section 8.4.

    >>> round(average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])), 4)
    0.8333
    """
    scores, positive = _drop_unlabeled(scores, labels)
    if not positive.any():
        return NAN
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(positive[order])[last_of_tie]
    precision = hits / (last_of_tie + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / hits[-1])


CutoffRule = Literal["f1", "youden"]
CUTOFF_RULES: tuple[CutoffRule, ...] = ("f1", "youden")


def best_cutoff(scores: Array, labels: Array, rule: CutoffRule = "f1") -> float:
    """The score from which to call an image positive: the largest F1, or sensitivity + specificity (Youden).

    scores (n,), labels (n,) of 1, 0 or NaN (unknown, left out). Halfway to the next lower score; of equals the highest.
    NaN unless both classes occur.

    >>> round(best_cutoff(np.array([0.1, 0.4, 0.34, 0.8]), np.array([0, 0, 1, 1])), 3)
    0.22
    """
    scores, positive = _drop_unlabeled(scores, labels)
    if positive.all() or not positive.any():
        return NAN
    levels = np.unique(scores)[::-1]  # falling
    order = np.argsort(-scores, kind="stable")
    last = np.searchsorted(-scores[order], -levels, side="right")  # how many lie at or above each level
    hits = np.cumsum(positive[order])[last - 1]
    wrong = last - hits
    count, others = int(positive.sum()), int((~positive).sum())
    worth = 2 * hits / (last + count) if rule == "f1" else hits / count - wrong / others
    best = int(np.argmax(worth))
    below = levels[best + 1] if best + 1 < len(levels) else levels[best]
    return float((levels[best] + below) / 2)


def _drop_unlabeled(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Scores and whether positive, float64 and bool (m,), of the rows whose label is known."""
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise DataError(f"scores {scores.shape} and labels {labels.shape} must be two lists of one length")
    known = ~np.isnan(labels)
    scores, labels = scores[known], labels[known]
    if not np.isin(labels, (0, 1)).all():
        odd = labels[~np.isin(labels, (0, 1))][0]
        raise DataError(f"a label is {odd:g}; allowed: 1, 0 and NaN (decide what an uncertain -1 counts as)")
    if not np.isfinite(scores).all():
        raise DataError(f"{np.sum(~np.isfinite(scores))} scores are not finite; only unlabeled rows may be")
    return scores, labels == 1
