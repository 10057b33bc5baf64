"""DeLong's variance of areas under ROC curves, and the test of two areas on the same images.

DeLong, DeLong and Clarke-Pearson 1988, 10.2307/2531595, in the fast form of Sun and Xu 2014, 10.1109/LSP.2014.2337313.
Images count as independent; where patients have several images, intervals that resample patients are valid.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, rankdata

from sightline.core import NAN, Array


def auroc_with_covariance(scores: Array, labels: Array) -> tuple[Array, Array]:
    """Compute the AUROC of K models on the same images, and their covariance.

    Parameters
    ----------
    scores : (K, n) array
        Scores of the models.
    labels : (n,) array
        0 or 1.

    Returns
    -------
    auroc : (K,) float64
        Areas; NaN unless both classes occur.
    covariance : (K, K) float64
        Covariance; NaN with fewer than two images of either class.

    Examples
    --------
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
    """Compute the AUROC of one model with a normal interval, clipped to [0, 1].

    Parameters
    ----------
    scores, labels : (n,) array
        Scores, and labels of 0 and 1.
    level : float
        Confidence level.

    Returns
    -------
    auroc, low, high : float
        NaN for a sample without variance.
    """
    area, covariance = auroc_with_covariance(scores, labels)
    reach = float(norm.ppf((1 + level) / 2)) * float(np.sqrt(covariance[0, 0]))
    low, high = (float(np.clip(area[0] + sign * reach, 0, 1)) for sign in (-1, 1))
    return float(area[0]), low, high


def p_value(first: Array, second: Array, labels: Array) -> float:
    """Compute the two-sided p value of two models having the same AUROC on the same images.

    Parameters
    ----------
    first, second : (n,) array
        Scores of the models.
    labels : (n,) array
        0 or 1.

    Returns
    -------
    float
        p; NaN where the variance of the difference is 0.
    """
    area, covariance = auroc_with_covariance(np.stack([first, second]), labels)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if not variance > 0:
        return NAN
    return float(2 * norm.sf(abs(area[0] - area[1]) / np.sqrt(variance)))


def auroc_difference(first: Array, second: Array, labels: Array, level: float = 0.95) -> tuple[float, float, float]:
    """Compute the difference of two AUROC on the same images with a normal interval.

    Parameters
    ----------
    first, second : (n,) array
        Scores of the models.
    labels : (n,) array
        0 or 1.
    level : float
        Confidence level.

    Returns
    -------
    difference, low, high : float
        First minus second.

    Examples
    --------
    >>> auroc_difference(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.1, 0.8, 0.2, 0.9]), np.array([0, 0, 1, 1]))[0]
    0.25
    """
    area, covariance = auroc_with_covariance(np.stack([first, second]), labels)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    reach = float(norm.ppf((1 + level) / 2)) * float(np.sqrt(max(variance, 0.0)))
    gap = float(area[0] - area[1])
    return gap, gap - reach, gap + reach
