"""Classification of images: area under the ROC curve, average precision, cutoffs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.stats import rankdata

from sightline.core import NAN, Array
from sightline.errors import DataError


def auroc(scores: Array, labels: Array) -> float:
    """Compute the area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Source: Hanley and McNeil 1982, 10.1148/radiology.143.1.7063747.

    Parameters
    ----------
    scores : (n,) array
        Scores, finite where labeled.
    labels : (n,) array
        1, 0 or NaN (unknown, left out).

    Returns
    -------
    float
        Area in [0, 1]; NaN unless both classes occur.

    Examples
    --------
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
    """Compute the mean precision at the positives: the area under the step-wise precision-recall curve.

    Source: Manning et al. 2008, Introduction to Information Retrieval, section 8.4.

    Parameters
    ----------
    scores : (n,) array
        Scores, finite where labeled; equal scores enter together.
    labels : (n,) array
        1, 0 or NaN (unknown, left out).

    Returns
    -------
    float
        Average precision in (0, 1]; NaN without a positive.

    Examples
    --------
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
"""Quantity that a cutoff maximizes."""
CUTOFF_RULES: tuple[CutoffRule, ...] = ("f1", "youden")


def best_cutoff(scores: Array, labels: Array, rule: CutoffRule = "f1") -> float:
    """Find the score from which on an image is called positive.

    Parameters
    ----------
    scores : (n,) array
        Scores, finite where labeled.
    labels : (n,) array
        1, 0 or NaN (unknown, left out).
    rule : {'f1', 'youden'}
        Quantity to maximize: F1, or sensitivity + specificity.

    Returns
    -------
    float
        Cutoff, halfway to the next lower score; of equally good ones the highest. NaN unless both classes occur.

    Examples
    --------
    >>> round(best_cutoff(np.array([0.1, 0.4, 0.34, 0.8]), np.array([0, 0, 1, 1])), 3)
    0.22
    """
    scores, positive = _drop_unlabeled(scores, labels)
    if positive.all() or not positive.any():
        return NAN
    levels = np.unique(scores)[::-1]  # falling
    order = np.argsort(-scores, kind="stable")
    n_called = np.searchsorted(-scores[order], -levels, side="right")  # at or above each level
    hits = np.cumsum(positive[order])[n_called - 1]
    count, n_negative = int(positive.sum()), int((~positive).sum())
    quality = 2 * hits / (n_called + count) if rule == "f1" else hits / count - (n_called - hits) / n_negative
    best = int(np.argmax(quality))
    below = levels[best + 1] if best + 1 < len(levels) else levels[best]
    return float((levels[best] + below) / 2)


def _drop_unlabeled(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Return scores, float64 (m,), and whether each is positive, bool (m,), of the rows whose label is known."""
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
