"""Bootstrap by one matrix of weights, for protocols whose intervals are quantiles of resamples, as the published one.

The matrix is shared by every source, metric and finding, so that differences are paired.
Drawing G patients with replacement gives patient g a multinomial count W[b, g] in resample b; the mean of any column
of scores in that resample is (W @ sums) / (W @ counts), with sums and counts taken per patient. A thousand resamples
of every column at once cost two small matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from sightline.core import Array
from sightline.stats.jackknife import nanmean, sum_by_patient

QuantileKind = Literal["percentile", "order-statistics"]
"""Kind of interval, see `interval`."""
RESAMPLES = 1000
"""Number of resamples."""
_RESAMPLES_PER_STRIP = 64
"""Resamples multiplied at a time, so that memory does not grow with the product of resamples and groups."""


@dataclass(frozen=True, slots=True)
class Replicates:
    """Means of K columns in the sample, and in B resamples of its groups."""

    point: Array
    """float64 (K,): mean of the sample; NaN where a column has no value."""
    draws: Array
    """float64 (B, K): mean of each resample; NaN where it drew no group with a value."""
    n: Array
    """int64 (K,): values."""
    groups: Array
    """int64 (K,): groups with at least one value."""


@lru_cache(maxsize=2)
def draw_weights(groups: int, resamples: int, seed: int) -> Array:
    """Draw resamples of groups with replacement, once for all metrics and sources of a table.

    Parameters
    ----------
    groups : int
        Number of groups G.
    resamples : int
        Number of resamples B.
    seed : int
        Seed.

    Returns
    -------
    (B, G) uint8
        Count of each group in each resample; read-only, because it is shared.

    Examples
    --------
    >>> draw_weights(3, 2, seed=0).sum(axis=1).tolist()
    [3, 3]
    """
    if groups == 0:
        return np.zeros((resamples, 0), np.uint8)
    rng = np.random.default_rng((seed, groups, resamples))
    share, weights = np.full(groups, 1 / groups), np.empty((resamples, groups), np.uint8)
    for start in range(0, resamples, _RESAMPLES_PER_STRIP):
        strip = weights[start : start + _RESAMPLES_PER_STRIP]
        strip[:] = rng.multinomial(groups, share, size=len(strip))
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=2)
def draw_published_weights(groups: int, resamples: int, seed: int) -> Array:
    """Draw resamples as eval.py of CheXlocalize does: np.random.seed(seed), then choice of rows.

    Parameters
    ----------
    groups, resamples, seed : int
        As in `draw_weights`.

    Returns
    -------
    (B, G) uint8
        Count of each group in each resample; read-only, because it is shared.
    """
    rng = np.random.RandomState(seed)
    counts = (np.bincount(rng.choice(groups, size=groups), minlength=groups) for _ in range(resamples if groups else 0))
    weights = np.array(list(counts), np.uint8).reshape(resamples, groups)
    weights.setflags(write=False)
    return weights


def replicate(values: Array, group: Array, weights: Array) -> Replicates:
    """Compute the mean of each column in the sample and in each resample.

    Parameters
    ----------
    values : (N, K) array
        Values; NaN is undefined and leaves the mean.
    group : (N,) int
        Group of each row, in [0, G).
    weights : (B, G) array
        Counts, see `draw_weights`.

    Returns
    -------
    Replicates
        Means of the K columns.
    """
    sums, counts = sum_by_patient(values, group, weights.shape[1])
    draws = np.empty((len(weights), values.shape[1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        point = sums.sum(0) / counts.sum(0)
        for start in range(0, len(weights), _RESAMPLES_PER_STRIP):
            strip = weights[start : start + _RESAMPLES_PER_STRIP].astype(float)
            draws[start : start + _RESAMPLES_PER_STRIP] = (strip @ sums) / (strip @ counts)  # (b, K)
    return Replicates(point, draws, counts.sum(0).astype(int), (counts > 0).sum(0))


def average_columns(r: Replicates, parts: list[Array], values: Array, group: Array) -> Replicates:
    """Average sets of columns (findings) without weights, replicate by replicate.

    Parameters
    ----------
    r : Replicates
        Means of the K columns.
    parts : list of int array
        Columns of each mean.
    values : (N, K) array
        Values behind the columns.
    group : (N,) int
        Group of each row.

    Returns
    -------
    Replicates
        A column per part. n and groups count the values and the distinct groups with any value among them. A finding
        without a value in a resample leaves the mean of that resample.
    """
    valid = ~np.isnan(values)
    point = np.array([nanmean(r.point[p], 0) for p in parts])
    draws = np.stack([nanmean(r.draws[:, p], 1) for p in parts], 1)  # (B, len(parts))
    n = np.array([int(valid[:, p].sum()) for p in parts])
    groups = np.array([np.unique(group[valid[:, p].any(1)]).size for p in parts])
    return Replicates(point, draws, n, groups)


def interval(r: Replicates, kind: QuantileKind = "percentile", level: float = 0.95) -> tuple[Array, Array, Array]:
    """Compute estimates with their intervals.

    Parameters
    ----------
    r : Replicates
        Means of K columns.
    kind : {'percentile', 'order-statistics'}
        percentile: the sample mean and the quantiles of the resamples. order-statistics: the mean of the resamples, and
        the replicates that the code of CheXlocalize takes, positions 24 and 974 of 1000 in sorted order.
    level : float
        Confidence level.

    Returns
    -------
    estimate, low, high : (K,) float64
        low and high are NaN with fewer than two groups, which give no information about the population.
    """
    draws = np.sort(r.draws, axis=0)  # NaN last
    valid = np.count_nonzero(~np.isnan(draws), axis=0)  # (K,)
    is_defined = (r.groups >= 2) & (valid > 0)
    tail = (1 - level) / 2
    if kind == "percentile":
        last = np.maximum(valid - 1, 0)
        estimate, places = r.point, (tail * last, (1 - tail) * last)
    else:
        with np.errstate(invalid="ignore"):
            estimate = np.where(is_defined, np.nansum(draws, axis=0) / valid, r.point)
        first = np.maximum(np.rint(tail * valid) - 1, 0)
        places = (first, np.maximum(valid - first - 2, 0))
    low, high = (np.where(is_defined, _interpolate(draws, place), np.nan) for place in places)
    return estimate, low, high


def _interpolate(sorted_: Array, place: Array) -> Array:
    """Interpolate each sorted column (B, K) linearly at a fractional position (K,)."""
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, sorted_.shape[0] - 1)
    lower, upper = (np.take_along_axis(sorted_, i[None], axis=0)[0] for i in (below, above))
    share = place - below
    between: Array = np.where(share > 0, lower + share * (upper - lower), lower)
    return between


def p_value(draws: Array) -> float:
    """Compute the two-sided bootstrap p value of a difference being zero.

    Parameters
    ----------
    draws : (B,) array
        Differences in the resamples.

    Returns
    -------
    float
        p, never below 2 / (B + 1); NaN without replicates.

    Examples
    --------
    >>> p_value(np.array([0.1, 0.2, 0.3])) == 2 * 1 / 4
    True
    """
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return float("nan")
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return float(min(1.0, 2 * (tail + 1) / (draws.size + 1)))
