"""Cluster bootstrap by one weight matrix, shared by every source, metric and finding, so that differences are paired.

Drawing G patients with replacement gives patient g a multinomial count W[b, g] in resample b; the mean of any column
of scores in that resample is (W @ sums) / (W @ counts), with sums and counts taken per patient. A thousand resamples
of every column at once cost two small matrix products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from sightline.core import Array

Interval = Literal["percentile", "order-statistics"]


@dataclass(frozen=True, slots=True)
class Replicates:
    """Means of K columns in the sample and in B resamples of its groups."""

    point: Array
    """float64 (K,): mean of the sample; NaN where a column has no value."""
    draws: Array
    """float64 (B, K): mean of each resample; NaN where it drew no group with a value."""
    n: Array
    """int64 (K,): values."""
    groups: Array
    """int64 (K,): groups with at least one value."""


def weights(groups: int, resamples: int, seed: int) -> Array:
    """Multinomial counts (B, G): how often each of G groups is drawn in each resample.

    >>> weights(3, 2, seed=0).sum(axis=1).tolist()
    [3.0, 3.0]
    """
    if groups == 0:
        return np.zeros((resamples, 0))
    rng = np.random.default_rng((seed, groups, resamples))
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(float)


def replicate(values: Array, group: Array, w: Array) -> Replicates:
    """Resampled means of each column.

    values: float (N, K), NaN = undefined, leaves the mean; group: int (N,) in [0, G); w: (B, G) of `weights`.
    """
    valid = ~np.isnan(values)
    sums = np.zeros((w.shape[1], values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, group, np.where(valid, values, 0.0))
    np.add.at(counts, group, valid)
    with np.errstate(invalid="ignore", divide="ignore"):
        point = sums.sum(0) / counts.sum(0)
        draws = (w @ sums) / (w @ counts)  # (B, K)
    return Replicates(point, draws, valid.sum(0), (counts > 0).sum(0))


def average(r: Replicates, parts: list[Array], values: Array, group: Array) -> Replicates:
    """Unweighted means over sets of columns (findings), replicate by replicate.

    parts: index arrays into the K columns, one per mean. n and groups count the distinct rows and groups with any
    value among them. A finding that a resample happens to miss leaves that resample's mean.
    """
    valid = ~np.isnan(values)
    point = np.array([_nanmean(r.point[None, p])[0] for p in parts])
    draws = np.stack([_nanmean(r.draws[:, p]) for p in parts], 1)  # (B, len(parts))
    n = np.array([int(valid[:, p].sum()) for p in parts])
    groups = np.array([np.unique(group[valid[:, p].any(1)]).size for p in parts])
    return Replicates(point, draws, n, groups)


def _nanmean(rows: Array) -> Array:
    """Mean of each row over its defined entries, NaN where there are none."""
    valid = ~np.isnan(rows)
    with np.errstate(invalid="ignore"):
        means: Array = np.where(valid, rows, 0.0).sum(1) / valid.sum(1)
    return means


def interval(r: Replicates, kind: Interval = "percentile", level: float = 0.95) -> tuple[Array, Array, Array]:
    """(estimate, low, high), each (K,).

    percentile: the sample mean and the quantiles of the resamples. order-statistics: the mean of the resamples and
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
    else:
        with np.errstate(invalid="ignore"):
            estimate = np.where(told, np.nansum(draws, axis=0) / valid, r.point)
        first = np.maximum(np.rint(tail * valid) - 1, 0)
        places = (first, np.maximum(valid - first - 2, 0))
    low, high = (np.where(told, _between(draws, place), np.nan) for place in places)
    return estimate, low, high


def _between(sorted_: Array, place: Array) -> Array:
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
