"""Masks on which several readers agree: union, majority, and STAPLE."""

from __future__ import annotations

from typing import Literal

import numpy as np

from sightline.core import Array

ConsensusRule = Literal["union", "majority", "staple"]
"""Rule that makes one mask of those of several readers, see `combine_masks`."""
CONSENSUS_RULES: tuple[ConsensusRule, ...] = ("union", "majority", "staple")
_START = 0.99999
"""Sensitivity and specificity from which STAPLE starts: every reader is almost right."""
_ITERATIONS = 100
_TOLERANCE = 1e-7


def combine_masks(masks: Array, rule: ConsensusRule) -> Array:
    """Combine the masks that readers drew of the same finding on the same image.

    Parameters
    ----------
    masks : (R, H, W) bool
        Mask of every reader who read the image; an empty one where a reader saw no finding.
    rule : {'union', 'majority', 'staple'}
        union: marked by any reader. majority: by more than half of them (of two readers, by both). staple: marked with
        a probability of at least 0.5, see `staple`.

    Returns
    -------
    (H, W) bool
        Mask; it may be empty where readers marked different places.

    Examples
    --------
    >>> masks = np.array([[[1, 1, 0]], [[0, 1, 1]], [[0, 1, 0]]], bool)
    >>> [combine_masks(masks, rule).astype(int).tolist() for rule in ("union", "majority")]
    [[[1, 1, 1]], [[0, 1, 0]]]
    """
    if rule == "union":
        return np.asarray(masks.any(0))
    if rule == "majority":
        return np.asarray(2 * np.count_nonzero(masks, axis=0) > len(masks))
    return staple(masks)[0] >= 0.5


def staple(masks: Array) -> tuple[Array, Array, Array]:
    """Estimate the true mask and the quality of its readers together (STAPLE).

    The expectation maximization of Warfield, Zou and Wells 2004, 10.1109/TMI.2004.828354, without a spatial model. The
    prior of every pixel is the mean of all masks. Pixels with the same votes have the same probability, so that the
    iteration runs over the distinct patterns of votes and its cost does not grow with the image.

    Parameters
    ----------
    masks : (R, H, W) bool
        Mask of every reader.

    Returns
    -------
    probability : (H, W) float64
        Probability that a pixel is part of the finding; zeros if nobody marked anything.
    sensitivity, specificity : (R,) float64
        Estimated quality of every reader; NaN if nobody marked anything.

    Examples
    --------
    >>> masks = np.zeros((3, 1, 100), bool)
    >>> masks[:2, 0, :10] = True
    >>> masks[2, 0, 50:60] = True
    >>> probability, sensitivity, _ = staple(masks)
    >>> (probability[0] > 0.5).sum(), sensitivity.round(2).tolist()
    (np.int64(10), [1.0, 1.0, 0.0])
    """
    bits = np.arange(len(masks))
    pixel_codes = np.tensordot(1 << bits, masks.astype(np.int64), 1).ravel()  # votes of a pixel as a binary number
    codes, inverse, counts = np.unique(pixel_codes, return_inverse=True, return_counts=True)
    patterns = (codes >> bits[:, None] & 1).astype(bool)  # (R, P)
    prior = float(masks.mean())
    if prior in (0.0, 1.0):
        quality = np.full(len(masks), np.nan)
        return np.full(masks.shape[1:], prior), quality, quality
    sensitivity, specificity = np.full(len(masks), _START), np.full(len(masks), _START)
    for _ in range(_ITERATIONS):
        weight = _posterior(patterns, prior, sensitivity, specificity)  # (patterns,)
        inside, outside = counts * weight, counts * (1 - weight)
        if not inside.sum() or not outside.sum():
            break
        previous = np.concatenate([sensitivity, specificity])
        sensitivity, specificity = patterns @ inside / inside.sum(), ~patterns @ outside / outside.sum()
        if np.abs(np.concatenate([sensitivity, specificity]) - previous).max() < _TOLERANCE:
            break
    weight = _posterior(patterns, prior, sensitivity, specificity)
    return weight[inverse.ravel()].reshape(masks.shape[1:]), sensitivity, specificity


def _posterior(patterns: Array, prior: float, sensitivity: Array, specificity: Array) -> Array:
    """Return the probability of the finding under each pattern of votes (R, P): (P,)."""
    p, q = sensitivity[:, None], specificity[:, None]
    inside = prior * np.where(patterns, p, 1 - p).prod(0)
    outside = (1 - prior) * np.where(patterns, 1 - q, q).prod(0)
    total = inside + outside
    # Votes that are impossible under both occur only by rounding: they tell nothing beyond the prior.
    posterior: Array = np.divide(inside, total, out=np.full(total.shape, prior), where=total > 0)
    return posterior
