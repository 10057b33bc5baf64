"""Intervals that hold for several sources at once, so that one of them may be called the best.

A source that was chosen because it scored highest on the same data has a score that is too high on average, and an
interval of 95 % for each source then contains the true score of the chosen one too rarely. An interval that holds for
all candidates together with 95 % confidence holds for whichever of them is chosen (Berk et al. 2013,
10.1214/12-AOS1077). How far the candidates vary together follows from the patients, who are the same for all: sources
that always rise and fall together need hardly more than 95 %. The largest standardized deviation is simulated with
normal weights of the patients (multiplier bootstrap, Chernozhukov et al. 2013, 10.1214/13-AOS1161).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtr

from sightline.core import Array
from sightline.stats.jackknife import LeaveOneOut

_DRAWS = 2000
"""Draws of the largest deviation."""
_STRIP = 100
"""Draws at a time, so that memory does not grow with draws times patients."""


def simultaneous_levels(r: LeaveOneOut, families: Sequence[Hashable], level: float = 0.95) -> Array:
    """Compute the level that each column's own interval needs so that those of its family hold together.

    The quantile of the largest standardized deviation of a family is what all its columns need (single-step maximum of
    |t|). The level that belongs to it is never below that of a single column, nor above that of Bonferroni.

    Parameters
    ----------
    r : LeaveOneOut
        K statistics of the same patients.
    families : sequence of hashable
        Family of each column, such as its finding and the kind of its source.
    level : float
        Confidence level of each family.

    Returns
    -------
    (K,) float64
        Levels for `sightline.stats.intervals.infer`; `level` itself in a family of one.

    Examples
    --------
    >>> from sightline.stats.jackknife import leave_one_out
    >>> r = leave_one_out(np.random.default_rng(0).normal(size=(200, 2)), np.arange(200))
    >>> simultaneous_levels(r, ["a", "b"]).tolist(), simultaneous_levels(r, ["a", "a"]).round(2).tolist()
    ([0.95, 0.95], [0.98, 0.98])
    """
    levels = np.full(len(families), level)
    codes = pd.factorize(pd.Series(list(families), dtype=object))[0]
    if len(set(codes.tolist())) == len(codes):
        return levels
    shares = _standardized_contributions(r)
    deviations = _draw_deviations(shares)
    for code in range(codes.max(initial=-1) + 1):
        columns = np.flatnonzero(codes == code)
        varying = columns[shares[:, columns].any(0)]  # a constant has no deviation
        if varying.size > 1:
            largest = deviations[:, varying].max(1)
            needed = 1 - 2 * ndtr(-np.quantile(largest, level))
            levels[columns] = np.clip(needed, level, 1 - (1 - level) / varying.size)
    return levels


def _draw_deviations(shares: Array) -> Array:
    """Draw standardized deviations of all columns, (_DRAWS, K), by normal weights of the patients of a strip each."""
    rng = np.random.default_rng((len(shares), _DRAWS))
    strips = [rng.standard_normal((_STRIP, len(shares))) @ shares for _ in range(_DRAWS // _STRIP)]
    return np.abs(np.concatenate(strips))


def _standardized_contributions(r: LeaveOneOut) -> Array:
    """Return the contribution of each patient to each column, with sums of squares of 1; (G, K), 0 for constants."""
    present = (r.weight > 0) & ~np.isnan(r.left_out)
    left_out = np.where(present, r.left_out, 0.0)
    center = left_out.sum(0) / np.maximum(present.sum(0), 1)
    gap = np.where(present, center - left_out, 0.0)
    size = np.sqrt((gap**2).sum(0))
    is_constant = size <= 1e-12 * np.maximum(np.abs(np.nan_to_num(center)), 1e-2)
    return np.where(is_constant, 0.0, gap / np.where(is_constant, 1.0, size))
