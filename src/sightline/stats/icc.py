"""Intraclass correlation of raters, for the sample and its resamples at once."""

from __future__ import annotations

import numpy as np

from sightline.core import Array


def icc(values: Array, weights: Array) -> Array:
    """Compute ICC(A,1), the absolute agreement of single ratings in a two-way random model.

    Source: McGraw and Wong 1996, 10.1037/1082-989X.1.1.30; it is ICC(2,1) of Shrout and Fleiss 1979.

    Parameters
    ----------
    values : (N, K) array
        Ratings of N cases by K raters, without gaps.
    weights : (B, N) array
        Count of each case in each resample.

    Returns
    -------
    (B,) float64
        1 if all raters agree and cases differ, 0 or below if raters differ as much as cases; NaN with fewer than two
        cases or raters, or without any variance.

    Examples
    --------
    >>> judges = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    >>> icc(judges, np.ones((1, 6))).round(2).tolist()
    [0.29]
    """
    x, w = np.asarray(values, float), np.asarray(weights, float)
    k, n = x.shape[1], w.sum(1)  # raters; cases drawn (B,)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = x.mean(1)  # (N,)
        columns = (w @ x) / n[:, None]  # (B, K)
        grand = columns.mean(1)  # (B,)
        between = k * (w * (rows[None] - grand[:, None]) ** 2).sum(1)
        raters = n * ((columns - grand[:, None]) ** 2).sum(1)
        total = (w * ((x[None] - grand[:, None, None]) ** 2).sum(2)).sum(1)
        ms_cases, ms_raters = between / (n - 1), raters / (k - 1)
        ms_error = np.maximum(total - between - raters, 0) / ((n - 1) * (k - 1))
        spread = ms_cases + (k - 1) * ms_error + k / n * (ms_raters - ms_error)
        correlation: Array = np.where((n > 1) & (spread > 1e-12), (ms_cases - ms_error) / spread, np.nan)
    return correlation
