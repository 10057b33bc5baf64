"""Adjustments of p values for the number of tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sightline.core import Array


def bonferroni(p: Array) -> Array:
    """Adjust p values by Bonferroni's method.

    Parameters
    ----------
    p : (n,) array
        p values; NaN is no test and stays.

    Returns
    -------
    (n,) float64
        p times the number of tests, at most 1.

    Examples
    --------
    >>> bonferroni(np.array([0.01, np.nan, 0.8])).tolist()
    [0.02, nan, 1.0]
    """
    return np.minimum(p * np.count_nonzero(~np.isnan(p)), 1.0)


def holm(p: Array) -> Array:
    """Adjust p values by Holm's step-down method (1979, Scandinavian Journal of Statistics 6:65).

    Parameters
    ----------
    p : (n,) array
        p values; NaN is no test and stays.

    Returns
    -------
    (n,) float64
        Adjusted p values.

    Examples
    --------
    >>> holm(np.array([0.01, np.nan, 0.03])).tolist()
    [0.02, nan, 0.03]
    """
    order = np.argsort(p)  # NaN last
    tests = np.count_nonzero(~np.isnan(p))
    adjusted = np.full(p.shape, np.nan)
    steps = p[order[:tests]] * (tests - np.arange(tests))
    adjusted[order[:tests]] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def add_holm(rows: Sequence[dict[str, Any]], into: str = "p_holm") -> None:
    """Add Holm's adjustment of the p values of rows to them.

    Parameters
    ----------
    rows : sequence of dict
        Rows with the key 'p'; they are changed.
    into : str
        Key of the adjusted p value.
    """
    for row, p in zip(rows, holm(np.array([row["p"] for row in rows], float)), strict=True):
        row[into] = float(p)
