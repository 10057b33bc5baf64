"""Calibration of probabilities."""

from __future__ import annotations

import numpy as np

from sightline.core import NAN, Array


def brier(probability: Array, label: Array) -> float:
    """Compute the Brier score, the mean squared error of probabilities.

    Source: Brier 1950, 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Parameters
    ----------
    probability : (n,) array
        Probabilities.
    label : (n,) array
        0 or 1.

    Returns
    -------
    float
        Score in [0, 1], lower is better; NaN without any label.

    Examples
    --------
    >>> brier(np.array([0.5, 1.0]), np.array([0, 1]))
    0.125
    """
    return float(((probability - label) ** 2).mean()) if len(label) else NAN


def calibration_error(probability: Array, label: Array, bins: int = 10) -> float:
    """Compute the adaptive calibration error: the mean difference of probability and share of positives over bins.

    The bins hold equal numbers of images. Few images inflate the error: with ten per bin, a perfect model has about
    0.1. Source: Nixon et al. 2019, arXiv:1904.01685 (one class).

    Parameters
    ----------
    probability : (n,) array
        Probabilities.
    label : (n,) array
        0 or 1.
    bins : int
        Number of bins, at most n.

    Returns
    -------
    float
        Error in [0, 1]; NaN without any label.

    Examples
    --------
    >>> round(calibration_error(np.full(10, 0.3), np.repeat([0, 1], [7, 3])), 3)
    0.0
    """
    if not len(label):
        return NAN
    order = np.lexsort((label, probability))
    parts = np.array_split(order, min(bins, len(order)))
    if np.ptp(probability) == 0:
        parts = [order]
    gaps = [abs(float(probability[p].mean() - label[p].mean())) * len(p) for p in parts]
    return float(sum(gaps) / len(order))
