"""How far a method lies below a second reader, in percent of that reader."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from sightline.core import NAN, Array
from sightline.stats.bootstrap import Replicates, interval, replicate
from sightline.stats.estimates import AVERAGE
from sightline.stats.intervals import infer_ratio
from sightline.stats.jackknife import LeaveOneOut, average_columns, concatenate, leave_one_out, nanmean


def percentage_decrease(
    findings: Sequence[str],
    human: Array,
    model: Array,
    group: Array,
    weights: Array,
    *,
    published: bool,
    candidates: int = 1,
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
        False: over the cases that both have, with Fieller's intervals, which need no resamples.
    candidates : int
        Number of methods of which this one is, for intervals that hold for all of them together (Bonferroni; not under
        the published definitions).

    Returns
    -------
    DataFrame
        Columns finding, human, model, decrease, low, high, simultaneous_low, simultaneous_high, n, patients, reason
        (why there is no interval, or ''), and detectable, the smallest true difference of the means that this many
        patients would find (see `detectable_difference`).

    Examples
    --------
    >>> ones = np.ones((4, 1))
    >>> table = percentage_decrease(["Edema"], ones, ones * 0.75, np.arange(4), np.ones((9, 4)), published=False)
    >>> table["decrease"].tolist()
    [25.0, 25.0]
    """
    numbers = (
        _published_decrease(human, model, group, weights)
        if published
        else _corrected_decrease(human, model, group, candidates)
    )
    table = pd.DataFrame({"finding": [*findings, AVERAGE], **numbers})
    return table.assign(detectable=np.append(detectable_difference(human - model, group), NAN))


def _corrected_decrease(human: Array, model: Array, group: Array, candidates: int) -> dict[str, Array | list[str]]:
    """Over the cases that both have: 1 minus the ratio of the means."""
    both = ~np.isnan(human) & ~np.isnan(model)
    h, m = (_append_average(leave_one_out(np.where(both, x, NAN), group)) for x in (human, model))
    ratio, wide = infer_ratio(m, h), infer_ratio(m, h, 1 - 0.05 / candidates)
    return {
        "human": h.point,
        "model": m.point,
        "decrease": 100 * (1 - ratio.point),
        "low": 100 * (1 - ratio.high),
        "high": 100 * (1 - ratio.low),
        "simultaneous_low": 100 * (1 - wide.high),
        "simultaneous_high": 100 * (1 - wide.low),
        "n": ratio.n,
        "patients": ratio.patients,
        "reason": list(ratio.reason),
    }


def _append_average(r: LeaveOneOut) -> LeaveOneOut:
    return concatenate(r, average_columns(r, [np.arange(len(r.point))]))


def _published_decrease(human: Array, model: Array, group: Array, weights: Array) -> dict[str, Array | list[str]]:
    """Compare means over resamples, rounded to three digits for the average."""
    h, m = replicate(human, group, weights), replicate(model, group, weights)
    either = ~np.isnan(human) | ~np.isnan(model)
    ratio = Replicates(
        _percent_below(h.point, m.point),
        _percent_below(h.draws, m.draws),  # (B, F + 1)
        np.append(either.sum(0), either.sum()),
        np.append(h.groups, np.unique(group[either.any(1)]).size),
    )
    _, low, high = interval(ratio, "order-statistics")
    mean = _percent_below(nanmean(h.draws, 0), nanmean(m.draws, 0))
    rounded = [np.round(np.nanmean(nanmean(r.draws, 0)), 3) for r in (h, m)]
    mean[-1] = 100 * (rounded[0] - rounded[1]) / rounded[0] if rounded[0] else NAN
    return {
        "human": np.append(h.point, nanmean(h.point, 0)),
        "model": np.append(m.point, nanmean(m.point, 0)),
        "decrease": mean,
        "low": low,
        "high": high,
        "simultaneous_low": low,
        "simultaneous_high": high,
        "n": ratio.n,
        "patients": ratio.groups,
        "reason": ["" if known else "a single group to draw from" for known in ~np.isnan(low)],
    }


def _percent_below(human: Array, model: Array) -> Array:
    """Percent below, of each finding and of the means over findings: (..., F) -> (..., F + 1)."""
    pairs = [np.concatenate([x, nanmean(x, -1)[..., None]], -1) for x in (human, model)]
    with np.errstate(invalid="ignore", divide="ignore"):
        percent: Array = 100 * (pairs[0] - pairs[1]) / np.where(pairs[0] == 0, np.nan, pairs[0])
    return percent


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
    residual = np.where(valid, gap - nanmean(gap, 0), 0.0)
    totals = np.zeros((int(group.max(initial=-1)) + 1, gap.shape[1]))
    np.add.at(totals, group, residual)
    counts = np.zeros_like(totals)
    np.add.at(counts, group, valid)
    groups = (counts > 0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt((totals**2).sum(0) * groups / (groups - 1)) / n
    smallest: Array = np.where(groups > 1, (ndtri(1 - alpha / 2) + ndtri(power)) * error, np.nan)
    return smallest
