"""How far a method lies below a second reader, in percent of that reader."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from sightline.core import Array
from sightline.stats.bootstrap import Replicates, acceleration, interval, jackknife_means, nanmean, replicate
from sightline.stats.estimates import AVERAGE


def percentage_decrease(
    findings: Sequence[str], human: Array, model: Array, group: Array, weights: Array, *, published: bool
) -> pd.DataFrame:
    """Compute by how many percent a method lies below a second reader, per finding and on average.

    The decrease is (human - model) / human of the means; positive values are worse than the reader, and it is NaN
    where the mean
    of the reader is 0.

    Parameters
    ----------
    findings : sequence of str
        F findings.
    human, model : (N, F) array
        Scores; NaN is undefined.
    group : (N,) int
        Group of each row, in [0, G).
    weights : (B, G) array
        Resamples, the same for both, so that the two means of a resample come from the same patients.
    published : bool
        True: each mean over its own cases, and order statistics around the ratio of the means of the replicates.
        False: over
        the cases that both have, with BCa intervals.

    Returns
    -------
    DataFrame
        Columns finding, human, model, decrease, low, high, n, patients, and detectable, the smallest true difference
        of the
        means that this many patients would find (see `detectable_difference`).

    Examples
    --------
    >>> ones = np.ones((4, 1))
    >>> table = percentage_decrease(["Edema"], ones, ones * 0.75, np.arange(4), np.ones((9, 4)), published=False)
    >>> table["decrease"].tolist()
    [25.0, 25.0]
    """
    if not published:
        both = ~np.isnan(human) & ~np.isnan(model)
        human, model = np.where(both, human, np.nan), np.where(both, model, np.nan)
    h, m = replicate(human, group, weights), replicate(model, group, weights)
    without_h, present = jackknife_means(human, group)  # (G, F)
    skew = acceleration(_percent_below(without_h, jackknife_means(model, group)[0]), _append_any(present))
    either = ~np.isnan(human) | ~np.isnan(model)
    ratio = Replicates(
        _percent_below(h.point, m.point),
        _percent_below(h.draws, m.draws),  # (B, F + 1)
        np.append(either.sum(0), either.sum()),
        np.append(h.groups, np.unique(group[either.any(1)]).size),
        skew,
    )
    mean, low, high = interval(ratio, "order-statistics" if published else "bca")
    if published:  # a ratio of means over resamples, of means rounded to three digits for the average
        mean = _percent_below(nanmean(h.draws.T), nanmean(m.draws.T))
        rounded = [np.round(np.nanmean(nanmean(r.draws.T)), 3) for r in (h, m)]
        mean[-1] = 100 * (rounded[0] - rounded[1]) / rounded[0] if rounded[0] else np.nan
    return pd.DataFrame(
        {
            "finding": [*findings, AVERAGE],
            "human": np.append(h.point, nanmean(h.point[None])),
            "model": np.append(m.point, nanmean(m.point[None])),
            "decrease": mean,
            "low": low,
            "high": high,
            "n": ratio.n,
            "patients": ratio.groups,
            "detectable": np.append(detectable_difference(human - model, group), np.nan),
        }
    )


def _percent_below(human: Array, model: Array) -> Array:
    """Percent below, of each finding and of the means over findings: (..., F) -> (..., F + 1)."""
    pairs = [np.concatenate([x, nanmean(np.atleast_2d(x)).reshape(*x.shape[:-1], 1)], -1) for x in (human, model)]
    with np.errstate(invalid="ignore", divide="ignore"):
        percent: Array = 100 * (pairs[0] - pairs[1]) / np.where(pairs[0] == 0, np.nan, pairs[0])
    return percent


def _append_any(present: Array) -> Array:
    return np.concatenate([present, present.any(1, keepdims=True)], 1)


def detectable_difference(gap: Array, group: Array, power: float = 0.8, alpha: float = 0.05) -> Array:
    """Compute the smallest true mean difference that a two-sided test would find.

    It is (z of 1 - alpha / 2 plus z of the power) standard errors. The standard error is that of groups: the root of
    the sum of
    squared group totals of the residuals, divided by n, with the factor G / (G - 1) for few groups.

    Parameters
    ----------
    gap : (N, F) array
        Paired differences; NaN is undefined.
    group : (N,) int
        Group of each row.
    power, alpha : float
        Power and level of the test.

    Returns
    -------
    (F,) float64
        Differences; NaN with fewer than two groups.
    """
    valid = ~np.isnan(gap)
    n = valid.sum(0)
    residual = np.where(valid, gap - nanmean(gap.T), 0.0)
    totals = np.zeros((int(group.max(initial=-1)) + 1, gap.shape[1]))
    np.add.at(totals, group, residual)
    counts = np.zeros_like(totals)
    np.add.at(counts, group, valid)
    groups = (counts > 0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt((totals**2).sum(0) * groups / (groups - 1)) / n
    smallest: Array = np.where(groups > 1, (ndtri(1 - alpha / 2) + ndtri(power)) * error, np.nan)
    return smallest
