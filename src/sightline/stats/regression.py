"""Regressions of localization on the shape of a finding and on the confidence of the model.

After Saporta et al. 2022, 10.1038/s42256-022-00536-x. The published form treats every pair of radiograph and finding as
independent and stacks all findings; the corrected form compares within findings (fixed effects), and its errors allow
for several rows of one patient (cluster-robust, 10.3368/jhr.50.2.317).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from sightline.core import NAN, Array, Definition
from sightline.stats.multiplicity import bonferroni, holm

SHAPE_FEATURES = ("instances", "size", "elongation", "irrectangularity")
_SLOPE_COLUMNS = ("slope", "low", "high", "p", "n", "patients")

Scale = Literal["min-max", "z-score", "raw"]
"""How a predictor is scaled over the stacked rows. The paper's results speak of z-scores and raw probabilities were
called min-max scaled; its methods and code say min-max for features and raw for probabilities."""


def regress_on_features(
    cases: pd.DataFrame, outcome: str, definition: Definition, scale: Scale = "min-max"
) -> pd.DataFrame:
    """Regress an outcome on each shape feature of the annotations, one at a time.

    Parameters
    ----------
    cases : DataFrame
        One row per radiograph and finding with columns finding, patient, the outcome and the four features; only rows
        with at
        least one instance count, and infinite values are left out.
    outcome : str
        Column of the outcome.
    definition : {'published', 'corrected'}
        Model of the errors, see the module, and adjustment of p values: Bonferroni as published, Holm as corrected.
    scale : {'min-max', 'z-score', 'raw'}
        Scaling of a feature over the stacked rows; with min-max a slope is the change from the lowest to the highest
        value.

    Returns
    -------
    DataFrame
        Columns feature, slope, low, high (95 %), p, n, patients, p_adjusted (over the four features) and stars (* <
        0.05, **
        < 0.01, *** < 0.001, of p_adjusted). Undefined slopes are NaN.
    """
    rows = cases[cases["instances"] > 0].replace([np.inf, -np.inf], np.nan)
    results = [(f, *_fit_slope(_scale(rows[f], scale), rows[outcome], rows, definition)) for f in SHAPE_FEATURES]
    return _add_adjusted_columns(pd.DataFrame(results, columns=pd.Index(["feature", *_SLOPE_COLUMNS])), definition)


def _scale(x: pd.Series[float], scale: Scale) -> pd.Series[float]:
    """Scale a predictor; one that does not vary becomes NaN, and so does its slope."""
    if scale == "raw":
        return x
    low = x.min() if scale == "min-max" else x.mean()
    spread = x.max() - x.min() if scale == "min-max" else x.std()
    return (x - low) / spread if spread > 0 else x * NAN


def regress_on_confidence(
    cases: pd.DataFrame, outcome: str, definition: Definition, scale: Scale = "raw"
) -> pd.DataFrame:
    """Regress an outcome on the probability of the model, and correlate their ranks.

    Parameters
    ----------
    cases : DataFrame
        Columns finding, patient, probability and the outcome; rows with NaN in either are left out.
    outcome : str
        Column of the outcome.
    definition, scale
        As in `regress_on_features`.

    Returns
    -------
    DataFrame
        One row per finding, and one for all of them together ('all'): columns finding, slope, low, high, p, n,
        patients, rho,
        rho_low, rho_high (Fisher's interval with the true n), rho_p, p_adjusted (over the findings), stars and
        rho_stars.
    """
    rows = cases[cases["probability"].notna() & cases[outcome].notna()]
    parts = [(str(f), rows[rows["finding"] == f]) for f in dict.fromkeys(cases["finding"])]
    results = []
    for name, part in [*parts, ("all", rows)]:
        slope = _fit_slope(_scale(part["probability"], scale), part[outcome], part, definition)
        results.append(
            (name, *slope, *spearman(part["probability"].to_numpy(float), part[outcome].to_numpy(float))[:4])
        )
    names = ["finding", *_SLOPE_COLUMNS, "rho", "rho_low", "rho_high", "rho_p"]
    table = _add_adjusted_columns(pd.DataFrame(results, columns=pd.Index(names)), definition)
    return table.assign(
        rho_stars=[significance_stars(p) for p in _adjust_p_values(table["rho_p"].to_numpy(float), definition)]
    )


def _fit_slope(
    x: pd.Series[float], y: pd.Series[float], rows: pd.DataFrame, definition: Definition
) -> tuple[float, float, float, float, int, int]:
    """(slope, low, high, p, n, patients) of y on x; corrected: within findings, by patients."""
    kept = (x.notna() & y.notna()).to_numpy()
    patient = pd.factorize(rows["patient"][kept])[0]
    finding = pd.factorize(rows["finding"][kept])[0]
    groups, n = len(set(patient)), int(kept.sum())
    design = np.column_stack([x[kept], np.ones(n)]).astype(float)
    if definition == "corrected":
        design = np.column_stack([x[kept].to_numpy(float), finding[:, None] == np.unique(finding)]).astype(float)
    spare = n - design.shape[1]
    freedom = spare if definition == "published" else groups - 1
    if min(spare, freedom) < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return NAN, NAN, NAN, NAN, n, groups
    outcome = y[kept].to_numpy(float)
    slope, error = _least_squares(design, outcome, None if definition == "published" else patient)
    t = stats.t.ppf(0.975, freedom)
    p = 2 * stats.t.sf(abs(slope / error), freedom) if error > 0 else NAN
    return slope, slope - t * error, slope + t * error, float(p), n, groups


def _least_squares(design: Array, y: Array, cluster: Array | None) -> tuple[float, float]:
    """First coefficient and its standard error: classical, or robust to clusters (CR1, as statsmodels and Stata do)."""
    n, k = design.shape
    bread = np.linalg.inv(design.T @ design)
    beta = bread @ design.T @ y
    residual = y - design @ beta
    if cluster is None:
        covariance = bread * (residual @ residual) / (n - k)
    else:
        scores = np.zeros((int(cluster.max()) + 1, k))
        np.add.at(scores, cluster, design * residual[:, None])  # (G, k)
        groups = len(scores)
        covariance = bread @ scores.T @ scores @ bread * (groups / (groups - 1)) * ((n - 1) / (n - k))
    return float(beta[0]), float(np.sqrt(max(covariance[0, 0], 0.0)))


def spearman(x: Array, y: Array) -> tuple[float, float, float, float, int]:
    """Compute the rank correlation of the pairs without NaN.

    The published table used one n for every finding; this function uses the number of pairs.

    Parameters
    ----------
    x, y : (N,) array
        Values.

    Returns
    -------
    rho, low, high, p : float
        Correlation with Fisher's 95 % interval, tanh(atanh(rho) ± 1.96 / sqrt(n - 3)), and its p value. NaN with
        fewer than
        four pairs, or if one side does not vary.
    n : int
        Number of pairs.
    """
    kept = ~(np.isnan(x) | np.isnan(y))
    n = int(kept.sum())
    if n < 4 or np.ptp(x[kept]) == 0 or np.ptp(y[kept]) == 0:
        return NAN, NAN, NAN, NAN, n
    rho, p = stats.spearmanr(x[kept], y[kept])
    return (float(rho), *fisher_interval(float(rho), n), float(p), n)


def fisher_interval(rho: float, n: int) -> tuple[float, float]:
    """Compute the 95 % interval of a correlation.

    The example is Cardiomegaly in Table 2 of Saporta et al. 2022, whose printed interval belongs to another n.

    Parameters
    ----------
    rho : float
        Correlation.
    n : int
        Number of pairs.

    Returns
    -------
    low, high : float
        Bounds.

    Examples
    --------
    >>> [round(bound, 3) for bound in fisher_interval(0.592, 229)]
    [0.501, 0.67]
    """
    if abs(rho) >= 1:
        return rho, rho
    center, half = np.arctanh(rho), 1.96 / np.sqrt(n - 3)
    return float(np.tanh(center - half)), float(np.tanh(center + half))


def significance_stars(p: float) -> str:
    """Return the stars of a p value.

    Parameters
    ----------
    p : float
        p value.

    Returns
    -------
    str
        '*', '**' or '***' below 0.05, 0.01 and 0.001, otherwise ''.
    """
    return "*" * sum(p < level for level in (0.05, 0.01, 0.001))


def _adjust_p_values(p: Array, definition: Definition) -> Array:
    return bonferroni(p) if definition == "published" else holm(p)


def _add_adjusted_columns(table: pd.DataFrame, definition: Definition) -> pd.DataFrame:
    adjusted = _adjust_p_values(table["p"].to_numpy(float), definition)
    return table.assign(p_adjusted=adjusted, stars=[significance_stars(p) for p in adjusted])
