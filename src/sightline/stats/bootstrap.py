"""Cluster bootstrap by one weight matrix, shared by every source, metric and finding, so that differences are paired.

Drawing G patients with replacement gives patient g a multinomial count W[b, g] in resample b; the mean of any column
of scores in that resample is (W @ sums) / (W @ counts), with sums and counts taken per patient. A thousand resamples
of every column at once cost two small matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtrit

from sightline.core import Array

IntervalKind = Literal["percentile", "bca", "order-statistics"]
RESAMPLES = 1000
_RESAMPLES_PER_STRIP = 64
"""Resamples multiplied at a time, so that memory does not grow with resamples times groups."""


@dataclass(frozen=True, slots=True)
class Replicates:
    """Means of K columns in the sample, in B resamples of its groups, and with each group left out."""

    point: Array
    """float64 (K,): mean of the sample; NaN where a column has no value."""
    draws: Array
    """float64 (B, K): mean of each resample; NaN where it drew no group with a value."""
    n: Array
    """int64 (K,): values."""
    groups: Array
    """int64 (K,): groups with at least one value."""
    acceleration: Array
    """float64 (K,): skewness of the means with one group left out (the jackknife), for BCa intervals."""


def draw_weights(groups: int, resamples: int, seed: int) -> Array:
    """Multinomial counts, uint8 (B, G): how often each of G groups is drawn in each resample.

    >>> draw_weights(3, 2, seed=0).sum(axis=1).tolist()
    [3, 3]
    """
    if groups == 0:
        return np.zeros((resamples, 0), np.uint8)
    rng = np.random.default_rng((seed, groups, resamples))
    share, drawn = np.full(groups, 1 / groups), np.empty((resamples, groups), np.uint8)
    for start in range(0, resamples, _RESAMPLES_PER_STRIP):
        some = drawn[start : start + _RESAMPLES_PER_STRIP]
        some[:] = rng.multinomial(groups, share, size=len(some))
    return drawn


def draw_published_weights(groups: int, resamples: int, seed: int) -> Array:
    """Counts, uint8 (B, G), as eval.py of CheXlocalize draws them: np.random.seed(seed), then choice of rows."""
    rng = np.random.RandomState(seed)
    counts = (np.bincount(rng.choice(groups, size=groups), minlength=groups) for _ in range(resamples if groups else 0))
    return np.array(list(counts), np.uint8).reshape(resamples, groups)


def replicate(values: Array, group: Array, weights: Array) -> Replicates:
    """Resampled means of each column.

    values: float (N, K), NaN = undefined, leaves the mean; group: int (N,) in [0, G); w: (B, G) of `draw_weights`.
    """
    sums, counts = _sum_by_group(values, group, weights.shape[1])
    draws = np.empty((len(weights), values.shape[1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        point = sums.sum(0) / counts.sum(0)
        for start in range(0, len(weights), _RESAMPLES_PER_STRIP):
            some = weights[start : start + _RESAMPLES_PER_STRIP].astype(float)
            draws[start : start + _RESAMPLES_PER_STRIP] = (some @ sums) / (some @ counts)  # (b, K)
    skew = acceleration(*jackknife_means(values, group))
    return Replicates(point, draws, counts.sum(0).astype(int), (counts > 0).sum(0), skew)


def _sum_by_group(values: Array, group: Array, groups: int) -> tuple[Array, Array]:
    """Sums and numbers of the defined values of each group, float64 (G, K) each."""
    valid = ~np.isnan(values)
    sums = np.zeros((groups, values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, group, np.where(valid, values, 0.0))
    np.add.at(counts, group, valid)
    return sums, counts


def jackknife_means(values: Array, group: Array) -> tuple[Array, Array]:
    """Mean of each column without each group, float64 (G, K), and whether that group had a value, bool (G, K)."""
    sums, counts = _sum_by_group(values, group, int(group.max(initial=-1)) + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means: Array = (sums.sum(0) - sums) / (counts.sum(0) - counts)
    return means, np.asarray(counts > 0)


def acceleration(means: Array, present: Array) -> Array:
    """Efron's acceleration, (K,), from statistics with one group left out, (G, K); 0 where they do not vary.

    Groups without a value (not `present`) do not belong to the sample. 10.1080/01621459.1987.10478410, equation 6.6.
    """
    means = np.where(present, means, np.nan)
    gap = np.nan_to_num(nanmean(means.T)[None] - means)  # (G, K)
    spread = (gap**2).sum(0)
    skewness: Array = np.divide((gap**3).sum(0), 6 * spread**1.5, out=np.zeros(gap.shape[1]), where=spread > 0)
    return skewness


def average_columns(r: Replicates, parts: list[Array], values: Array, group: Array) -> Replicates:
    """Unweighted means over sets of columns (findings), replicate by replicate.

    parts: index arrays into the K columns, one per mean. n and groups count the distinct rows and groups with any
    value among them. A finding that a resample happens to miss leaves that resample's mean.
    """
    valid = ~np.isnan(values)
    point = np.array([nanmean(r.point[None, p])[0] for p in parts])
    draws = np.stack([nanmean(r.draws[:, p]) for p in parts], 1)  # (B, len(parts))
    n = np.array([int(valid[:, p].sum()) for p in parts])
    groups = np.array([np.unique(group[valid[:, p].any(1)]).size for p in parts])
    means, present = jackknife_means(values, group)
    there = np.stack([present[:, p].any(1) for p in parts], 1)  # (G, len(parts))
    skew = acceleration(np.stack([nanmean(means[:, p]) for p in parts], 1), there)
    return Replicates(point, draws, n, groups, skew)


def nanmean(rows: Array) -> Array:
    """Mean of each row over its defined entries, NaN where there are none."""
    valid = ~np.isnan(rows)
    with np.errstate(invalid="ignore"):
        means: Array = np.where(valid, rows, 0.0).sum(1) / valid.sum(1)
    return means


def interval(r: Replicates, kind: IntervalKind = "percentile", level: float = 0.95) -> tuple[Array, Array, Array]:
    """(estimate, low, high), each (K,).

    percentile: the sample mean and the quantiles of the resamples. bca: the same, with quantiles corrected for bias and
    acceleration (Efron 1987, 10.1080/01621459.1987.10478410) and moved outward for few groups as Student's t is
    (Hesterberg 2015, 10.1080/00031305.2015.1089789, expanded intervals), without which they cover too little.
    order-statistics: the mean of the resamples and
    the replicates that code of CheXlocalize picks, positions 24 and 974 of 1000 in sorted order. Fewer than two groups
    say nothing about the population: low and high are NaN.
    """
    draws = np.sort(r.draws, axis=0)  # NaN last
    valid = np.count_nonzero(~np.isnan(draws), axis=0)  # (K,)
    told = (r.groups >= 2) & (valid > 0)
    last = np.maximum(valid - 1, 0)
    tail = (1 - level) / 2
    if kind == "percentile":
        estimate, places = r.point, (tail * last, (1 - tail) * last)
    elif kind == "bca":
        estimate = r.point
        groups = np.maximum(r.groups, 2)
        reach = stdtrit(groups - 1, 1 - tail) * np.sqrt(groups / (groups - 1))  # (K,)
        places = tuple(_bca_level(r, valid, z) * last for z in (-reach, reach))
    else:
        with np.errstate(invalid="ignore"):
            estimate = np.where(told, np.nansum(draws, axis=0) / valid, r.point)
        first = np.maximum(np.rint(tail * valid) - 1, 0)
        places = (first, np.maximum(valid - first - 2, 0))
    low, high = (np.where(told, _interpolate(draws, place), np.nan) for place in places)
    return estimate, low, high


def statistic_with_ci(values: Array, groups: int) -> tuple[float, float, float]:
    """Return a statistic with its 95 % percentile interval, as (point, low, high).

    Parameters
    ----------
    values : (1 + B,) float64
        Statistic of the sample, then of each of B resamples of its groups.
    groups
        Groups that were resampled; with fewer than two, low and high are NaN.
    """
    count = np.array([groups])
    point, low, high = interval(Replicates(values[:1], values[1:, None], count, count, np.zeros(1)))
    return float(point[0]), float(low[0]), float(high[0])


def mean_with_ci(
    values: Array | pd.Series[float], patients: pd.Series[str], seed: int, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return the mean of values (N,) with its 95 % BCa interval over patients: mean, low, high, n and patients.

    Undefined values are left out, also of n.
    """
    group = pd.factorize(patients, sort=True)[0]
    column = np.asarray(values, float)[:, None]
    r = replicate(column, group, draw_weights(int(group.max(initial=-1)) + 1, resamples, seed))
    mean, low, high = (float(end[0]) for end in interval(r, "bca"))
    return {"mean": mean, "low": low, "high": high, "n": int(r.n[0]), "patients": int(r.groups[0])}


def _bca_level(r: Replicates, valid: Array, z: Array) -> Array:
    """Share of the resamples (K,) at which the bound for quantiles z (K,) lies."""
    ties = np.count_nonzero(r.draws == r.point, axis=0) / 2
    below = np.count_nonzero(r.draws < r.point, axis=0) + ties
    count = np.maximum(valid, 1)
    bias = ndtri(np.clip(below / count, 0.5 / count, 1 - 0.5 / count))
    level: Array = ndtr(bias + (bias + z) / (1 - r.acceleration * (bias + z)))
    return level


def _interpolate(sorted_: Array, place: Array) -> Array:
    """Linear interpolation of each sorted column (B, K) at a fractional position (K,)."""
    below = np.floor(place).astype(np.intp)
    above = np.minimum(below + 1, sorted_.shape[0] - 1)
    lower, upper = (np.take_along_axis(sorted_, i[None], axis=0)[0] for i in (below, above))
    share = place - below
    between: Array = np.where(share > 0, lower + share * (upper - lower), lower)
    return between


def p_value(draws: Array) -> float:
    """Two-sided bootstrap p of a difference being zero, never below 2 / (B + 1); NaN without replicates.

    >>> p_value(np.array([0.1, 0.2, 0.3])) == 2 * 1 / 4
    True
    """
    draws = draws[~np.isnan(draws)]
    if draws.size == 0:
        return float("nan")
    tail = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return float(min(1.0, 2 * (tail + 1) / (draws.size + 1)))
