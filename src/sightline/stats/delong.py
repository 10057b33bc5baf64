"""DeLong's variance of areas under ROC curves, and his test of two areas on the same images.

DeLong, DeLong and Clarke-Pearson 1988, 10.2307/2531595, in the fast form of Sun and Xu 2014, 10.1109/LSP.2014.2337313.
Images count as independent; where a patient has several, intervals that resample patients are the honest ones.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, rankdata

from sightline.core import NAN, Array


def auroc_with_covariance(scores: Array, labels: Array) -> tuple[Array, Array]:
    """AUROC of K models on the same n images, float64 (K,), and their covariance (K, K).

    scores (K, n); labels (n,) of 0 and 1. All NaN unless both classes occur; the covariance is NaN with fewer than two
    of either.

    >>> auroc_with_covariance(np.array([[0.1, 0.4, 0.35, 0.8]]), np.array([0, 0, 1, 1]))[0].tolist()
    [0.75]
    """
    scores, positive = np.atleast_2d(np.asarray(scores, float)), np.asarray(labels) == 1
    count, others = int(positive.sum()), int((~positive).sum())
    size = len(scores)
    if not count or not others:
        return np.full(size, NAN), np.full((size, size), NAN)
    first, second = scores[:, positive], scores[:, ~positive]
    together = np.stack([rankdata(row) for row in np.concatenate([first, second], 1)])
    within = [np.stack([rankdata(row) for row in part]) for part in (first, second)]
    above = (together[:, :count] - within[0]) / others  # (K, positives): share of negatives below each
    below = 1 - (together[:, count:] - within[1]) / count  # (K, negatives)
    area: Array = above.mean(1)
    if min(count, others) < 2:
        return area, np.full((size, size), NAN)
    covariance = np.atleast_2d(np.cov(above)) / count + np.atleast_2d(np.cov(below)) / others
    return area, covariance


def auroc_interval(scores: Array, labels: Array, level: float = 0.95) -> tuple[float, float, float]:
    """(AUROC, low, high) of one model: normal, cut off at 0 and 1; a degenerate sample has no interval."""
    area, covariance = auroc_with_covariance(scores, labels)
    reach = float(norm.ppf((1 + level) / 2)) * float(np.sqrt(covariance[0, 0]))
    low, high = (float(np.clip(area[0] + sign * reach, 0, 1)) for sign in (-1, 1))
    return float(area[0]), low, high


def p_value(first: Array, second: Array, labels: Array) -> float:
    """Two-sided p of two models having the same AUROC on the same images; NaN where nothing tells them apart."""
    area, covariance = auroc_with_covariance(np.stack([first, second]), labels)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if not variance > 0:
        return NAN
    return float(2 * norm.sf(abs(area[0] - area[1]) / np.sqrt(variance)))


def auroc_difference(first: Array, second: Array, labels: Array, level: float = 0.95) -> tuple[float, float, float]:
    """(AUROC of the first less that of the second, low, high) on the same images; normal.

    >>> auroc_difference(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.1, 0.8, 0.2, 0.9]), np.array([0, 0, 1, 1]))[0]
    0.25
    """
    area, covariance = auroc_with_covariance(np.stack([first, second]), labels)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    reach = float(norm.ppf((1 + level) / 2)) * float(np.sqrt(max(variance, 0.0)))
    gap = float(area[0] - area[1])
    return gap, gap - reach, gap + reach
