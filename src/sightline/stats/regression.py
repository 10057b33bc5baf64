"""Regressions of localization on the shape of a finding and on the confidence of the model.

After Saporta et al. 2022, 10.1038/s42256-022-00536-x. The published form treats every pair of radiograph and finding as
independent and stacks all findings; the corrected form compares within findings (fixed effects), and its errors are
those of leaving out one patient at a time (see `sightline.stats.intervals`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from sightline.core import NAN, Array, Definition
from sightline.stats.intervals import infer
from sightline.stats.jackknife import LeaveOneOut, from_values
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
    table = pd.DataFrame(results, columns=pd.Index(["feature", *_SLOPE_COLUMNS]))
    adjust = bonferroni if definition == "published" else holm
    return _add_stars(table, adjust(table["p"].to_numpy(float)))


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
        Model of the errors and scaling, as in `regress_on_features`.

    Returns
    -------
    DataFrame
        One row per finding, and one for all of them together ('all'): columns finding, slope, low, high, p, n,
        patients, rho, rho_low, rho_high (95 %; Fisher's z, corrected: with the standard error over patients), rho_p,
        p_adjusted, stars and rho_stars. p values are adjusted over the rows by Holm as corrected and not at all as
        published, whose script adjusts those of the features alone.
    """
    rows = cases[cases["probability"].notna() & cases[outcome].notna()]
    parts = [(str(f), rows[rows["finding"] == f]) for f in dict.fromkeys(cases["finding"])]
    results = []
    for name, part in [*parts, ("all", rows)]:
        slope = _fit_slope(_scale(part["probability"], scale), part[outcome], part, definition)
        results.append((name, *slope, *_correlate(part, outcome, definition)))
    names = ["finding", *_SLOPE_COLUMNS, "rho", "rho_low", "rho_high", "rho_p"]
    table = pd.DataFrame(results, columns=pd.Index(names))
    slope_p, rho_p = (table[name].to_numpy(float) for name in ("p", "rho_p"))
    if definition == "corrected":
        slope_p, rho_p = holm(slope_p), holm(rho_p)
    return _add_stars(table, slope_p).assign(rho_stars=[significance_stars(p) for p in rho_p])


def _correlate(part: pd.DataFrame, outcome: str, definition: Definition) -> tuple[float, float, float, float]:
    """(rho, low, high, p) of the ranks of probability and outcome."""
    x, y = part["probability"].to_numpy(float), part[outcome].to_numpy(float)
    rho = spearman(x, y)[:4]
    if definition == "published" or np.isnan(rho[0]):
        return rho
    patient = pd.factorize(part["patient"])[0]
    row = infer(rank_correlation_left_out(x, y, patient), "correlation", (-1.0, 1.0)).row()
    return row["mean"], row["low"], row["high"], row["p"]


def _fit_slope(
    x: pd.Series[float], y: pd.Series[float], rows: pd.DataFrame, definition: Definition
) -> tuple[float, float, float, float, int, int]:
    """(slope, low, high, p, n, patients) of y on x; corrected: within findings, by patients."""
    kept = (x.notna() & y.notna()).to_numpy()
    patient = pd.factorize(rows["patient"][kept])[0]
    predictor, outcome = x[kept].to_numpy(float), y[kept].to_numpy(float)
    n, patients = int(kept.sum()), int(patient.max(initial=-1)) + 1
    if definition == "published":
        return *_least_squares(predictor, outcome), n, patients
    finding = pd.factorize(rows["finding"][kept])[0]
    design = np.column_stack([predictor, finding[:, None] == np.unique(finding)]).astype(float)
    if n <= design.shape[1] or not _varies_within(outcome, finding) or np.linalg.matrix_rank(design) < design.shape[1]:
        return NAN, NAN, NAN, NAN, n, patients
    row = infer(slope_left_out(design, outcome, patient)).row()
    return row["mean"], row["low"], row["high"], row["p"], n, patients


def _varies_within(outcome: Array, finding: Array) -> bool:
    """Return True if an outcome varies within any finding; else a slope is rounding, with any p value."""
    return any(np.ptp(outcome[finding == group]) > 0 for group in np.unique(finding))


def _least_squares(x: Array, y: Array) -> tuple[float, float, float, float]:
    """Slope of y on x with its classical interval and p value; NaN where it is undefined."""
    freedom = len(x) - 2
    if freedom < 1 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NAN, NAN, NAN, NAN
    fit = stats.linregress(x, y)
    reach = stats.t.ppf(0.975, freedom) * fit.stderr
    return float(fit.slope), float(fit.slope - reach), float(fit.slope + reach), float(fit.pvalue)


def slope_left_out(design: Array, y: Array, patient: Array) -> LeaveOneOut:
    """Compute the first coefficient of a least-squares fit for the sample and without each patient.

    Parameters
    ----------
    design : (N, k) array
        Predictors, of full rank.
    y : (N,) array
        Outcome.
    patient : (N,) int
        Patient of each row, in [0, G).

    Returns
    -------
    LeaveOneOut
        One column. A patient counts by the leverage of his rows on the coefficient. A column of the design that only
        one patient has is left out with the patient.
    """
    size = int(patient.max(initial=-1)) + 1
    squares, products = np.zeros((size, design.shape[1], design.shape[1])), np.zeros((size, design.shape[1]))
    np.add.at(squares, patient, design[:, :, None] * design[:, None, :])
    np.add.at(products, patient, design * y[:, None])
    whole = np.linalg.pinv(squares.sum(0), hermitian=True)
    rest = np.linalg.pinv(squares.sum(0) - squares, rcond=1e-10, hermitian=True)  # (G, k, k)
    left_out = np.einsum("gk,gk->g", rest[:, 0], products.sum(0) - products)
    leverage = np.bincount(patient, (design @ whole[0]) ** 2, size)
    return from_values(np.append(whole[0] @ products.sum(0), left_out), leverage, len(y))


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


def rank_correlation_left_out(x: Array, y: Array, patient: Array) -> LeaveOneOut:
    """Compute Spearman's rank correlation of the sample and without each patient.

    Parameters
    ----------
    x, y : (N,) array
        Values without NaN.
    patient : (N,) int
        Patient of each pair, in [0, G).

    Returns
    -------
    LeaveOneOut
        One column; NaN where one side does not vary.
    """
    size = int(patient.max(initial=-1)) + 1
    counts = np.bincount(patient, minlength=size)
    sides = [(stats.rankdata(side), *_number_levels(side)) for side in (x, y)]
    rows_of = np.split(np.argsort(patient, kind="stable"), np.cumsum(counts)[:-1])
    values = np.empty(1 + size)
    for place, rows in enumerate([np.zeros(0, int), *rows_of]):
        a, b = (_centered_ranks(*side, rows) for side in sides)
        with np.errstate(invalid="ignore", divide="ignore"):
            values[place] = (a @ b) / np.sqrt((a @ a) * (b @ b))
    return from_values(values, counts.astype(float), len(x))


def _number_levels(values: Array) -> tuple[Array, int]:
    """Return the number of each value among the distinct ones (N,), and how many there are."""
    distinct, level = np.unique(values, return_inverse=True)
    return level, len(distinct)


def _centered_ranks(ranks: Array, level: Array, levels: int, removed: Array) -> Array:
    """Return mid-ranks (N,) minus their mean as they are without some rows, which are 0.

    A row that leaves lowers the ranks of greater values by 1 and those of equal values by 1/2, so that a patient costs
    one pass over the rows, and memory does not grow with patients times rows.
    """
    leaving = np.bincount(level[removed], minlength=levels)
    kept: Array = ranks - (np.cumsum(leaving) - leaving / 2)[level] - (len(ranks) - len(removed) + 1) / 2
    kept[removed] = 0.0
    return kept


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


def _add_stars(table: pd.DataFrame, adjusted: Array) -> pd.DataFrame:
    return table.assign(p_adjusted=adjusted, stars=[significance_stars(p) for p in adjusted])
